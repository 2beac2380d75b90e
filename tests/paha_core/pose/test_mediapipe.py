"""The embedded detector on a drawn presenter whose true points are known."""

import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.pose import layout, open_detector
from paha_core.pose.detect import detector_sha256
from paha_core.pose.face import detect_face_boxes
from paha_core.pose.mediapipe import FACE_MAP, POSE_MAP


@pytest.fixture(scope="module")
def detector():
    return open_detector(PoseConfig())


@pytest.fixture(scope="module")
def found(detector, presenter):
    return detector.detect(presenter[0])


def test_every_part_lies_where_it_was_drawn(found, presenter):
    """Within a share of the frame; left for right, or another order of the face, is far above."""
    _, truth, visible = presenter
    for part, limit in (
        (layout.FACE, 0.03),
        (layout.LEFT_HAND, 0.03),
        (layout.RIGHT_HAND, 0.03),
        (layout.UPPER_BODY, 0.06),
    ):
        seen = visible[:, part] & (found.scores[:, part] > 0)
        assert seen.mean() > 0.9
        error = np.linalg.norm(found.points[:, part] - truth[:, part], axis=-1)
        assert error[seen].mean() < limit * 256


def test_a_kind_names_itself_and_what_it_lacks(detector, found):
    assert (found.detector, found.size) == ("mediapipe", (256, 256))
    assert found.weights_sha256 == detector.weights_sha256 == detector_sha256(PoseConfig())
    unmapped = sorted(set(range(23)) - set(POSE_MAP))
    assert unmapped == [18, 21]  # small toes
    assert (found.scores[:, unmapped] == 0).all()
    assert set(np.unique(found.scores[:, layout.FACE])) <= {0, 1}
    assert len(set(FACE_MAP)) == 68
    assert found.quality().face == 1


def test_result_does_not_depend_on_earlier_clips(detector, presenter, found):
    frames = presenter[0]
    detector.detect(np.ascontiguousarray(frames[:5, :, ::-1]))
    again = detector.detect(frames)
    np.testing.assert_array_equal(again.points, found.points)
    np.testing.assert_array_equal(again.scores, found.scores)


def test_no_person_means_scores_of_zero(detector):
    nobody = detector.detect(np.full((3, 128, 128, 3), 90, np.uint8))
    assert (nobody.scores == 0).all()
    assert (nobody.points == 0).all()


def test_a_network_that_the_wheel_lacks_is_not_downloaded():
    with pytest.raises(FileNotFoundError, match="use model_complexity 1"):
        open_detector(PoseConfig(model_complexity=2))


def test_face_box_holds_the_face(presenter):
    frames, truth, _ = presenter
    faces = detect_face_boxes(frames, PoseConfig())
    assert faces.found.all()
    assert faces.source == "mediapipe_face_detection"
    features = truth[:, 40:91]  # all but the jaw
    assert (features >= faces.boxes[:, None, :2] - 2).all()
    assert (features <= faces.boxes[:, None, 2:] + 2).all()
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    width = np.ptp(truth[:, layout.FACE, 0], axis=1)
    assert (sides[:, 0] < 2 * width).all()


def test_an_empty_frame_has_no_face():
    faces = detect_face_boxes(np.full((4, 128, 128, 3), 90, np.uint8), PoseConfig())
    assert not faces.found.any()
