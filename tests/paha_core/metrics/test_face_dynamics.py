"""THEval's motion metrics from 68 points, against values that follow from their definitions."""

import cv2
import numpy as np
import pytest

from paha_core.metrics import face_dynamics as fd

SIZE = (256, 256)


def still_face(frames: int = 20) -> np.ndarray:
    """A face seen from the front, its model's points where a camera sees them."""
    face = np.zeros((68, 2))
    camera = np.array([[256, 0, 128], [0, 256, 128], [0, 0, 1]], float)
    place = np.array([[0.0], [0.0], [500.0]])
    at, _ = cv2.projectPoints(fd.HEAD_MODEL, np.zeros(3), place, camera, None)
    face[fd.HEAD_POINTS] = at[:, 0]
    face[36:42] = [(104, 110), (108, 108), (112, 108), (114, 110), (112, 112), (108, 112)]
    face[42:48] = [(142, 110), (146, 108), (150, 108), (152, 110), (150, 112), (146, 112)]
    face[17:22], face[22:27] = (109, 100), (147, 100)
    face[61:64], face[65:68] = (128, 150), (128, 150)
    return np.repeat(face[None], frames, 0)


def test_lips_that_open_and_close_have_the_deviation_of_their_distances() -> None:
    face = still_face()
    assert fd.lip_dynamics(face, SIZE) == pytest.approx(0)
    face[1::2, 48:68] += (0, 9)  # the mouth as a whole: no distance changes
    assert fd.lip_dynamics(face, SIZE) == pytest.approx(0)
    face = np.zeros((20, 68, 2))
    face[1::2, 65:68, 1] = 8  # three of twenty points lower by 8 in every other frame
    assert fd.lip_dynamics(face, SIZE) == pytest.approx(4 * (3 * 17) / 190)
    assert fd.lip_dynamics(face, (512, 256)) == pytest.approx(2 * (3 * 17) / 190)


def test_openness_that_follows_the_voice_has_no_error() -> None:
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.uniform(0.1, 1, 40), 800)  # 50 ms each
    wave = loud * np.tile([1.0, -1.0], 16_000)
    frames = np.arange(50)
    openness = loud[(frames / 25 / 0.05).astype(int) * 800]
    speech = np.ones(50, bool)
    assert fd.lip_loudness_error(openness, frames, wave, speech) == pytest.approx(0)
    assert fd.lip_loudness_error(3 * openness + 1, frames, wave, speech) == pytest.approx(0)
    opposite = fd.lip_loudness_error(-openness, frames, wave, speech)
    spread = (openness - openness.min()) / np.ptp(openness)
    assert opposite == pytest.approx(np.abs(1 - 2 * spread).mean())
    assert fd.lip_loudness_error(openness, frames, wave, np.arange(50) < 4) is None


def test_openness_is_the_gap_over_the_eyes_distance_each_by_its_side() -> None:
    face = still_face(1)
    face[:, 65:68, 1] += 19
    eyes = abs(face[0, [42, 45], 0].mean() - face[0, [36, 39], 0].mean())
    assert fd.lip_openness(face, SIZE)[0] == pytest.approx(19 / eyes)
    assert fd.lip_openness(face, (512, 256))[0] == pytest.approx(19 / eyes / 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_angles_are_those_a_head_was_turned_by(axis: int) -> None:
    camera = np.array([[256, 0, 128], [0, 256, 128], [0, 0, 1]], float)
    turns = np.linspace(-20, 20, 9)
    face = still_face(len(turns))
    for frame, turn in enumerate(turns):
        angles = np.zeros(3)
        angles[axis] = np.radians(turn)
        place = np.array([[0.0], [0.0], [500.0]])
        at, _ = cv2.projectPoints(fd.HEAD_MODEL, angles, place, camera, None)
        face[frame, fd.HEAD_POINTS] = at[:, 0]
    found = fd.head_angles(face, SIZE)
    np.testing.assert_allclose(found[:, axis] - found[4, axis], turns, atol=0.5)


def test_a_head_that_only_slides_moves_by_its_places_deviation() -> None:
    face = still_face()
    assert fd.head_motion(face, SIZE) == pytest.approx(0, abs=1e-6)
    slid = still_face()
    slid[:, :, 0] += np.tile([0.0, 6.0], 10)[:, None]  # a variance of 9 in x, of 0 in y
    angles = fd.head_angles(slid, SIZE)
    turning = angles.std(0).mean() * np.diff(angles, axis=0).var(0).mean()
    assert fd.head_motion(slid, SIZE) == pytest.approx(np.sqrt(9 / 2 + turning))


def test_brows_that_rise_are_measured_over_the_eyes_distance() -> None:
    face = still_face()
    for brow, ring in zip(fd.BROWS, fd.EYE_RINGS, strict=True):
        face[:, brow] = face[:, ring].mean(1, keepdims=True) - (0, 10)  # right above the eye
    assert fd.eyebrow_motion(face) == pytest.approx(0)
    eyes = np.linalg.norm(face[0, 42:48].mean(0) - face[0, 36:42].mean(0))
    face[1::2, 17:27, 1] -= 5
    assert fd.eyebrow_motion(face) == pytest.approx(5 / eyes)
    face *= 3
    assert fd.eyebrow_motion(face) == pytest.approx(5 / eyes)


def test_a_face_that_is_mostly_hidden_has_no_points() -> None:
    points, scores = np.zeros((10, 133, 2)), np.ones((10, 133))
    scores[:4, 30] = 0
    face, frames = fd.face_points(points, scores)
    assert face.shape == (6, 68, 2)
    assert list(frames) == [4, 5, 6, 7, 8, 9]
    scores[:6, 30] = 0
    assert fd.face_points(points, scores) is None
