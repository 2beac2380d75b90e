"""Weight files that hold no weights, or a part of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save
from safetensors.torch import save_file
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import PoseConfig
from paha_core.errors import UserError
from paha_core.models.weight_files import read_state
from paha_core.pretrained import load_frozen
from paha_core.weight_formats import BrokenWeights, check_weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 999\n"
PAGE = "\n<!DOCTYPE html><html><body>404</body></html>"


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Path]:
    """A small file of each format."""
    state = {"w": torch.arange(1000.0), "b": torch.zeros(3)}
    files = {name: tmp_path / f"whole.{name}" for name in ("safetensors", "pth", "bin", "onnx")}
    save_file(state, files["safetensors"], metadata={"format": "pt"})
    torch.save(state, files["pth"])
    torch.save(state, files["bin"])
    zeros = helper.make_tensor("w", TensorProto.FLOAT, [500], np.ones(500))
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [500])
    node = helper.make_node("Constant", [], ["w"], value=zeros)
    save(helper.make_model(helper.make_graph([node], "g", [], [value])), files["onnx"])
    return files


def test_whole_files_pass(whole: dict[str, Path], tmp_path: Path) -> None:
    for path in whole.values():
        check_weights(path)
    torch.save({"w": torch.zeros(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    check_weights(tmp_path / "old.pth")
    check_weights(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["safetensors", "pth", "bin", "onnx"])
def test_cut_files_are_reported(
    whole: dict[str, Path], tmp_path: Path, name: str, share: float
) -> None:
    content = whole[name].read_bytes()
    path = tmp_path / f"cut.{name}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BrokenWeights, match="cut off or damaged"):
        check_weights(path)
    with pytest.raises(BrokenWeights, match=r"cut\."):  # found in a folder too
        check_weights(tmp_path)


@pytest.mark.parametrize("name", ["safetensors", "pth", "bin", "onnx"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(POINTER, "git-lfs pointer"), (PAGE, "web page"), ("", "is empty")],
)
def test_pointers_and_pages_are_recognised(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    path = tmp_path / f"model.{name}"
    path.write_text(content)
    with pytest.raises(BrokenWeights, match=words):
        check_weights(path)


@pytest.mark.parametrize("content", [POINTER, PAGE, "", "hello" * 50, "\0" * 64])
def test_every_reader_raises_one_sentence(tmp_path: Path, content: str) -> None:
    from transformers import CLIPVisionModel

    for suffix in (".safetensors", ".pth"):
        (tmp_path / f"w{suffix}").write_text(content)
        with pytest.raises(UserError):
            read_state(tmp_path / f"w{suffix}")
        out = tmp_path / "converted"
        arguments = ["weights", "convert", str(tmp_path / f"w{suffix}"), str(out)]
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    (tmp_path / "w.onnx").write_text(content)
    from paha_core.pose.dwpose import DWPose

    networks = dict.fromkeys(("dwpose_pose", "dwpose_person"), str(tmp_path / "w.onnx"))
    with pytest.raises(UserError):
        DWPose(PoseConfig().model_copy(update=networks))
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip_vision_model"}')
    (folder / "model.safetensors").write_text(content)
    with pytest.raises((UserError, FileNotFoundError)):
        load_frozen(CLIPVisionModel, str(folder), "reference.pretrained")


def test_a_network_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    state = {
        "input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3),
        "middle_block.0.in_layers.0.weight": torch.zeros(8),
    }
    torch.save(state, tmp_path / "part.pth")
    arguments = ["weights", "convert", str(tmp_path / "part.pth"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "not a whole UNetSD" in result.output
    assert result.output.count("\n") == 1
