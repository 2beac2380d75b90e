"""Identity: the stand-in tells drawn people apart; ArcFace's file is loaded for real."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paha_core.metrics.identity import (
    ArcFace,
    HogColour,
    align,
    descriptors,
    identity_similarity,
)
from paha_core.weight_formats import BrokenWeights


def face_points(x: float = 40, y: float = 40, size: float = 60) -> np.ndarray:
    """68 points of an upright face, as far as they are used."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0.1, 0.9, (68, 2))
    points[0], points[16], points[8] = (0, 0.2), (1, 0.2), (0.5, 1)
    points[17:27, 1] = 0.1
    points[36:42], points[42:48], points[30] = (0.3, 0.3), (0.7, 0.3), (0.5, 0.55)
    points[48], points[54] = (0.35, 0.75), (0.65, 0.75)
    return (points * size + (x, y)).astype(np.float32)


def draw(hue: int, frames: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    skin, hair = [((230, 190, 160), (40, 30, 25)), ((120, 80, 60), (200, 180, 90))][hue]
    video = np.full((frames, 128, 128, 3), 200, np.uint8)
    video[:, 20:105, 36:104] = hair
    video[:, 45:100, 42:98] = skin
    video[:, 56:62, 50:62] = video[:, 56:62, 78:90] = 20
    if hue:
        video[:, 75:80, 45:95] = 60  # a moustache
    points = np.zeros((frames, 133, 2), np.float32)
    points[:, 23:91] = face_points()
    return video, points, np.ones((frames, 133), np.float32)


def test_the_same_face_is_nearer_than_another() -> None:
    space = HogColour()
    one, other = (descriptors(space, *draw(hue)) for hue in (0, 1))
    noisy = draw(0)
    noise = np.random.default_rng(0).normal(0, 6, noisy[0].shape)
    again = descriptors(space, np.clip(noisy[0] + noise, 0, 255).astype(np.uint8), *noisy[1:])
    assert identity_similarity(one, one[:1]) == pytest.approx(1)
    assert identity_similarity(again, one[:1]) > 0.8
    assert identity_similarity(other, one[:1]) < 0.6


def test_no_face_is_no_number() -> None:
    video, points, scores = draw(0)
    none = descriptors(HogColour(), video, points, 0 * scores)
    assert len(none) == 0
    assert identity_similarity(none, descriptors(HogColour(), video, points, scores)) is None


def test_alignment_puts_eyes_at_arcfaces_template() -> None:
    video, points, _ = draw(0)
    picture = video[0].copy()
    picture[56:62, 50:62] = (255, 0, 0)  # the left eye, around (58, 58)
    aligned = align(picture, points[0, 23:91])
    assert aligned.shape == (112, 112, 3)
    y, x = np.nonzero((aligned[..., 0] > 200) & (aligned[..., 1] < 60))
    assert abs(x.mean() - 38) < 6
    assert abs(y.mean() - 52) < 6


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Mean colour as an embedding, in ArcFace's form."""
    return save_network(tmp_path / "arcface.onnx", 512)


def save_network(path: Path, length: int) -> Path:
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])
    made = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, length])
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "turn"], ["fc1"]),
    ]
    turn = numpy_helper.from_array(np.eye(3, length, dtype=np.float32), "turn")
    graph = helper.make_graph(nodes, "arcface", [given], [made], [turn])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def test_arcface_from_a_local_file(network: Path) -> None:
    space = ArcFace(network)
    video, points, _ = draw(0)
    vector = space.describe(video[0], points[0, 23:91])
    assert np.linalg.norm(vector) == pytest.approx(1)
    wanted = align(video[0], points[0, 23:91]).mean((0, 1)) - 127.5
    np.testing.assert_allclose(vector[:3], wanted / np.linalg.norm(wanted), atol=1e-4)


def test_arcface_errors_name_the_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no ArcFace weights"):
        ArcFace(tmp_path / "none.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"hello")
    with pytest.raises(BrokenWeights, match="cut off or damaged"):
        ArcFace(bad)
    with pytest.raises(ValueError, match="it is not an ArcFace"):
        ArcFace(save_network(bad, 128))
