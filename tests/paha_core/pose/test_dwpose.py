"""DWPose with small networks of the same inputs and outputs, built here.

The "pose network" marks the brightest spot of its crop; the "person network" always says the boxes
it was built with, or says them only for bright frames.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.pose import layout, open_detector
from paha_core.pose.stage import own_gpu, pose_workers

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from paha_core.pose.dwpose import (  # noqa: E402
    DETECT_EVERY,
    DeviceError,
    DWPose,
    decode_simcc,
    open_session,
    providers_of,
    track_person,
    weight_files,
)

CROP_W, CROP_H = 288, 384


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


def pose_network(path, batch="batch", y_peak=1.0):
    """simcc_x, simcc_y: the brightest column and row of the crop, the same for all 133 points."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=0),  # [B, H, W]
        helper.make_node("ReduceMax", ["grey"], ["columns"], axes=[1], keepdims=0),  # [B, W]
        helper.make_node("ReduceMax", ["grey"], ["rows"], axes=[2], keepdims=0),  # [B, H]
    ]
    for axis, profile in (("x", "columns"), ("y", "rows")):
        nodes += [  # each pixel twice (two bins a pixel), 133 times, white below 1
            helper.make_node("Reshape", [profile, f"one_{axis}"], [f"p1_{axis}"]),
            helper.make_node("Expand", [f"p1_{axis}", f"twice_{axis}"], [f"p2_{axis}"]),
            helper.make_node("Reshape", [f"p2_{axis}", f"flat_{axis}"], [f"p3_{axis}"]),
            helper.make_node("Expand", [f"p3_{axis}", "points"], [f"p4_{axis}"]),
            helper.make_node("Mul", [f"p4_{axis}", f"gain_{axis}"], [f"simcc_{axis}"]),
        ]
    constants = [constant("points", np.array([1, layout.POINTS, 1], np.int64))]
    for axis, size, gain in (("x", CROP_W, 1.0), ("y", CROP_H, y_peak)):
        constants += [
            constant(f"one_{axis}", np.array([-1, size, 1], np.int64)),
            constant(f"twice_{axis}", np.array([1, size, 2], np.int64)),
            constant(f"flat_{axis}", np.array([-1, 1, 2 * size], np.int64)),
            constant(f"gain_{axis}", np.float32(gain / 3)),
        ]
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, CROP_H, CROP_W])],
        [
            helper.make_tensor_value_info(
                "simcc_x", TensorProto.FLOAT, [batch, layout.POINTS, 2 * CROP_W]
            ),
            helper.make_tensor_value_info(
                "simcc_y", TensorProto.FLOAT, [batch, layout.POINTS, 2 * CROP_H]
            ),
        ],
        constants,
    )


def person_network(path, boxes, only_bright=False):
    """A YOLOX that ends in its own suppression: [1, N, 5], xyxy at 640 px and score."""
    rows = np.array([[(*box, 0.9) for box in boxes]], np.float32).reshape(1, -1, 5)
    nodes = [helper.make_node("ReduceMax", ["input"], ["bright"], keepdims=0)]
    if only_bright:  # the score vanishes on a frame with nothing bright
        nodes += [
            helper.make_node("Greater", ["bright", "limit"], ["seen"]),
            helper.make_node("Cast", ["seen"], ["factor"], to=TensorProto.FLOAT),
        ]
    else:
        nodes.append(helper.make_node("Min", ["bright", "one"], ["at_most"]))
        nodes.append(helper.make_node("Max", ["at_most", "one"], ["factor"]))
    nodes.append(helper.make_node("Mul", ["rows", "factor"], ["dets"]))
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])],
        [helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, len(boxes), 5])],
        [
            constant("rows", rows),
            constant("limit", np.float32(100)),
            constant("one", np.float32(1)),
        ],
    )


def raw_person_network(path, objects):
    """A COCO YOLOX without suppression: [1, 8400, 85]; `objects` are (class, box at 640 px)."""
    rows = np.zeros((1, 8400, 85), np.float32)
    for cell, (label, (x0, y0, x1, y1)) in enumerate(objects):
        # the first 80 * 80 cells have stride 8; cell k of the first row stands at (k, 0)
        rows[0, cell, :2] = (x0 + x1) / 16 - cell, (y0 + y1) / 16
        rows[0, cell, 2:4] = np.log((x1 - x0) / 8), np.log((y1 - y0) / 8)
        rows[0, cell, 4] = rows[0, cell, 5 + label] = 0.95
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["bright"], keepdims=0),
        helper.make_node("Mul", ["bright", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["dets"]),
    ]
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])],
        [helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, 8400, 85])],
        [constant("rows", rows), constant("zero", np.float32(0))],
    )


def config(pose, person, **more):
    return PoseConfig(detector="dwpose", dwpose_pose=pose, dwpose_person=person, **more)


def spots(places, side=320):
    """Dark frames with one white pixel each, at (x, y)."""
    frames = np.full((len(places), side, side, 3), 30, np.uint8)
    for frame, (x, y) in zip(frames, places):
        frame[y, x] = 255
    return frames


PLACES = [(100, 80), (117, 95), (131, 140), (90, 133), (104, 111)]
# At 640 px; half of that in frames of 320, where the crop then has 4 pixels for each of the frame.
PERSON = (220 - 57.6, 220 - 76.8, 220 + 57.6, 220 + 76.8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return pose_network(folder / "pose.onnx"), person_network(folder / "person.onnx", [PERSON])


def test_points_come_back_to_where_they_were(networks):
    """Cropped and un-cropped to a tenth of a pixel; a point is in the middle of its pixel."""
    keypoints = open_detector(config(*networks)).detect(spots(PLACES))
    expected = np.array(PLACES)[:, None] + 0.5
    assert np.abs(keypoints.points - expected).max() < 0.1
    assert keypoints.detector == "dwpose"
    assert len(keypoints.weights_sha256) == 64


def test_batches_equal_single_frames(networks, tmp_path):
    frames = spots(PLACES)
    batched = open_detector(config(*networks, batch=3)).detect(frames)
    single = open_detector(config(*networks, batch=1)).detect(frames)
    fixed = pose_network(tmp_path / "fixed.onnx", batch=2)  # some exports fix the batch
    padded = open_detector(config(fixed, networks[1], batch=16)).detect(frames)
    for other in (single, padded):
        np.testing.assert_array_equal(batched.points, other.points)
        np.testing.assert_array_equal(batched.scores, other.scores)


def test_score_is_the_smaller_peak_clamped(networks, tmp_path):
    full = open_detector(config(*networks)).detect(spots(PLACES)).scores
    weak = pose_network(tmp_path / "weak.onnx", y_peak=0.25)
    low = open_detector(config(weak, networks[1])).detect(spots(PLACES)).scores
    assert (full > 0.5).all()
    np.testing.assert_allclose(low, full * 0.25, rtol=1e-5)  # rtmlib's mean would give 0.625

    x = np.array([[[0.2, 1.7, 0.1]], [[0.3, 0.2, 0.9]]])
    y = np.array([[[1.2, 0.1]], [[-0.5, -0.2]]])
    bins, scores = decode_simcc(x, y)
    np.testing.assert_array_equal(bins[:, 0], [[1, 0], [2, 1]])
    np.testing.assert_array_equal(scores[:, 0], np.float32([1.0, 0.0]))


def test_no_person_means_scores_of_zero(networks, tmp_path):
    """Not the whole image as one person. Somebody who comes and goes is found frame by frame."""
    shy = person_network(tmp_path / "shy.onnx", [PERSON], only_bright=True)
    frames = spots([(110, 100)] * (DETECT_EVERY + 5))
    frames[10:] = 30  # nothing bright any more
    keypoints = DWPose(config(networks[0], shy)).detect(frames)
    assert (keypoints.scores[:10] > 0).all()
    assert (keypoints.scores[10:] == 0).all()
    assert (keypoints.points[10:] == 0).all()


def test_the_largest_person_counts_and_only_persons(networks, tmp_path):
    """A larger sofa is not a person; rtmlib's own loop would take it."""
    objects = [(0, (20, 20, 60, 80)), (0, PERSON), (57, (100, 60, 620, 620))]
    raw = raw_person_network(tmp_path / "raw.onnx", objects)
    frames = spots([(105, 100)])
    frames[0, 20, 20] = frames[0, 250, 250] = 255  # outside the large person's crop
    keypoints = open_detector(config(networks[0], raw)).detect(frames)
    assert np.abs(keypoints.points[0] - (105.5, 100.5)).max() < 0.1


def test_what_can_not_be_used_is_named(networks, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        open_detector(config(networks[0], str(tmp_path / "nowhere.onnx")))
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(DeviceError, match="onnxruntime-gpu"):
            open_session(Path(networks[0]), "cuda")
    with pytest.raises(ValueError, match="uint8"):
        open_detector(config(*networks)).detect(np.zeros((1, 8, 8, 3), np.float32))


class Searched:
    """A search that notes the frames it was asked for; frame t is filled with t."""

    def __init__(self, box_of):
        self.box_of, self.asked = box_of, []

    def __call__(self, frame, previous):
        self.asked.append(int(frame[0, 0, 0]))
        return np.asarray(self.box_of(self.asked[-1]), float)


def numbered(count):
    return np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)


def test_a_person_who_moves_on_is_searched_for_once_a_second():
    search = Searched(lambda t: (t, 2 * t, t + 100, 2 * t + 200))
    tracked = list(track_person(iter(numbered(61)), search))
    assert search.asked == [0, 25, 50, 60]
    assert [int(frame[0, 0, 0]) for frame, _ in tracked] == list(range(61))
    expected = [(t, 2 * t, t + 100, 2 * t + 200) for t in range(61)]
    np.testing.assert_allclose([box for _, box in tracked], expected)


def test_after_a_cut_the_person_is_searched_for_in_every_frame():
    search = Searched(lambda t: (0, 0, 50, 50) if t < 40 else (200, 200, 250, 250))
    boxes = [box[0] for _, box in track_person(numbered(76), search)]
    assert boxes == [0] * 40 + [200] * 36
    assert search.asked == [0, 25, 50, *range(26, 50), 75]
    assert list(track_person(numbered(0), search)) == []


def test_frames_may_come_one_after_another(networks):
    detector = open_detector(config(*networks, batch=2))
    whole = detector.detect(spots(PLACES))
    streamed = detector.detect(frame for frame in spots(PLACES))
    np.testing.assert_array_equal(whole.points, streamed.points)
    with pytest.raises(ValueError, match="no frames"):
        detector.detect(iter(()))
    odd = [*spots(PLACES[:3]), np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(ValueError, match="of one size"):
        detector.detect(odd)


def test_weights_are_downloaded_on_request_and_once(networks, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    url = Path(networks[0]).as_uri()
    person, pose = weight_files(config(url, networks[1]))
    assert (str(person), pose.read_bytes()) == (networks[1], Path(networks[0]).read_bytes())
    assert pose.is_relative_to(tmp_path / "cache")
    other = Path(networks[1]).with_name("elsewhere") / "pose.onnx"  # another file of that name
    other.parent.mkdir()
    other.write_bytes(Path(networks[1]).read_bytes())
    assert weight_files(config(other.as_uri(), networks[1]))[1].read_bytes() == other.read_bytes()
    other.unlink()  # it is not asked for again
    assert weight_files(config(other.as_uri(), networks[1]))[1].is_file()
    with pytest.raises(FileNotFoundError, match=r"no DWPose weights from file://.*absent\.onnx"):
        weight_files(config((tmp_path / "absent.onnx").as_uri(), networks[1]))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(FileNotFoundError, match=r"no end2end\.onnx"):
        weight_files(config((tmp_path / "empty.zip").as_uri(), networks[1]))


def test_each_device_has_its_providers_with_the_cpu_last():
    path = Path("weights/pose.onnx")
    assert providers_of(path, "cpu") == ["CPUExecutionProvider"]
    cuda, cpu = providers_of(path, "cuda", 3)
    assert (cuda, cpu) == (("CUDAExecutionProvider", {"device_id": 3}), "CPUExecutionProvider")
    (first, options), *others = providers_of(path, "tensorrt")
    assert first == "TensorrtExecutionProvider"
    assert options["trt_engine_cache_path"] == "weights"
    assert options["device_id"] == 0
    assert others == [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]


def test_a_gpu_gets_one_worker_and_each_worker_its_gpu():
    on_gpu = PoseConfig().model_copy(update={"detector": "dwpose", "device": "cuda"})
    assert pose_workers(on_gpu, 16, lambda: 4) == 4
    assert pose_workers(on_gpu, 16, lambda: 0) == 1  # its absence is reported on opening
    assert pose_workers(on_gpu, 0, lambda: 4) == 0
    assert pose_workers(on_gpu, "ray", lambda: 4) == "ray"
    assert pose_workers(PoseConfig(), 16, lambda: 4) == 16
    names = [f"SpawnProcess-{n}" for n in range(5, 9)]  # of a second pool
    assert sorted(own_gpu(name, 4) for name in names) == [0, 1, 2, 3]
    assert own_gpu("MainProcess", 4) == 0
