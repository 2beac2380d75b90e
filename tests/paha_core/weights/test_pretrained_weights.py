"""Pretrained weights: the manifest, a real client against a hub on loopback, checks, licences."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import paha_core
from loopback_hub import Hub
from paha_core.cli import app
from paha_core.config import derived, load_preset
from paha_core.weights.check import problems
from paha_core.weights.fetch import WeightsError, fetch, read_lock, wanted_by, write_preset
from paha_core.weights.licences import parts_of, summary
from paha_core.weights.manifest import PretrainedWeights, manifest

FETCH = """
import json, sys
from pathlib import Path
from paha_core.weights.fetch import WeightsError, fetch
from paha_core.weights.manifest import PretrainedWeights
chosen = {name: PretrainedWeights(**entry) for name, entry in json.loads(sys.argv[1]).items()}
try:
    done = fetch(chosen, Path(sys.argv[2]))
except WeightsError as error:
    sys.exit(str(error))
print(json.dumps([done.downloaded, done.reused]))
"""


def entry(**changes):
    values = {
        "title": "a small codec",
        "use": "tests",
        "key": "codec.pretrained",
        "stages": ["latent_codec"],
        "repo": "someone/codec",
        "files": {"config.json": {}, "diffusion_pytorch_model.safetensors": {}},
        "gives": "folder",
        "read_as": "safetensors",
        "licence": "mit",
    }
    return values | changes


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small autoencoder of the real class, as a hub has it."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    AutoencoderKL(block_out_channels=(32,), layers_per_block=1).save_pretrained(
        folder / "someone/codec"
    )
    (folder / "someone/codec/COMMIT").write_text("a" * 40)
    return folder


def run_fetch(hub_url, chosen, folder, **how):
    environment = os.environ | {
        "HF_ENDPOINT": hub_url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder.parent / "hf_home"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
    }
    command = [sys.executable, "-c", FETCH, json.dumps(chosen), str(folder)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )


def test_the_manifest_names_real_keys_once():
    keys = [entry.key for entry in manifest().weights.values()]
    assert len(keys) == len(set(keys))
    assert set(wanted_by("paper", [])) == {
        "modelscope-t2v", "sd-vae", "clip-vit-h", "wav2vec2-english", "dwpose", "yolox"
    }  # fmt: skip
    assert wanted_by("paper", ["syncnet"]).keys() == {"syncnet"}
    with pytest.raises(Exception, match="no weights 'nothing': there are modelscope-t2v"):
        wanted_by("paper", ["nothing"])


def test_fetched_from_a_hub_they_load_and_are_recorded(published, tmp_path):
    with Hub(published) as hub:
        first = run_fetch(hub.url, {"sd-vae": entry()}, tmp_path / "w")
        output, errors = first.communicate(timeout=300)
        assert json.loads(output.splitlines()[-1]) == [2, 0], errors
        again, _ = run_fetch(hub.url, {"sd-vae": entry()}, tmp_path / "w").communicate(timeout=300)
        assert json.loads(again.splitlines()[-1]) == [0, 2]
    lock = read_lock(tmp_path / "w")["sd-vae"]
    assert lock["revision"] == "a" * 40
    file = tmp_path / "w/sd-vae/diffusion_pytorch_model.safetensors"
    assert lock["files"][file.name]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    AutoencoderKL.from_pretrained(tmp_path / "w/sd-vae", use_safetensors=True)


def test_it_resumes_after_a_kill(published, tmp_path):
    large = published / "someone/large"  # more than the client keeps in memory before it writes
    large.mkdir()
    (large / "COMMIT").write_text("c" * 40)
    save_file({"x": torch.zeros(8 << 20)}, large / "model.safetensors")
    wanted = {"large": entry(repo="someone/large", files={"model.safetensors": {}})}
    with Hub(published, stall_after=25 << 20) as hub:
        broken = run_fetch(hub.url, wanted, tmp_path / "w")
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not any(
            path.stat().st_size for path in tmp_path.rglob("*.part")
        ):
            time.sleep(0.05)
        broken.send_signal(signal.SIGKILL)
        broken.communicate()
    assert not (tmp_path / "w/large/model.safetensors").exists()
    assert not read_lock(tmp_path / "w")
    with Hub(published) as hub:
        output, errors = run_fetch(hub.url, wanted, tmp_path / "w").communicate(timeout=300)
        assert json.loads(output.splitlines()[-1]) == [1, 0], errors
        assert [name for name, start in hub.ranges if start > 0] == ["model.safetensors"]
    assert load_file(tmp_path / "w/large/model.safetensors")["x"].numel() == 8 << 20


def test_wrong_hashes_moved_revisions_and_no_network_are_reported(published, tmp_path):
    wrong = entry(files={"config.json": {"sha256": "0" * 64}})
    with Hub(published) as hub:
        _, errors = run_fetch(hub.url, {"x": wrong}, tmp_path / "a").communicate(timeout=300)
        assert "expected 000000000000" in errors
        assert not (tmp_path / "a/x/config.json").exists()

        run_fetch(hub.url, {"x": entry()}, tmp_path / "b").communicate(timeout=300)
        (tmp_path / "b/x/config.json").unlink()
        (published / "someone/codec/COMMIT").write_text("b" * 40)
        try:
            _, errors = run_fetch(hub.url, {"x": entry()}, tmp_path / "b").communicate(timeout=300)
        finally:
            (published / "someone/codec/COMMIT").write_text("a" * 40)
        assert "has moved from aaaaaaaaaaaa to bbbbbbbbbbbb" in errors

        absent = entry(repo="someone/else")
        _, errors = run_fetch(hub.url, {"x": absent}, tmp_path / "c").communicate(timeout=300)
        assert "no such repository" in errors
    _, errors = run_fetch("http://127.0.0.1:9", {"x": entry()}, tmp_path / "d").communicate(
        timeout=300
    )
    assert "the hub can't be reached" in errors
    assert "Traceback" not in errors


def test_from_a_folder_without_a_network(published, tmp_path, monkeypatch):
    chosen = {"sd-vae": PretrainedWeights(**entry())}
    done = fetch(chosen, tmp_path, source=published.as_uri())
    assert (done.downloaded, done.reused) == (2, 0)
    path = write_preset("paper", chosen, tmp_path)
    preset = load_preset(path)
    assert preset.codec.pretrained == str(tmp_path / "sd-vae")
    assert not [problem for problem in problems(preset) if "codec" in problem]

    assert preset.codec.revision == "local"
    assert len(preset.codec.sha256) == 64
    other = path.read_text().replace(preset.codec.sha256, "d" * 64)
    (tmp_path / "other.yaml").write_text(other)
    pinned = problems(load_preset(tmp_path / "other.yaml"), "latent_codec")
    assert len(pinned) == 1
    assert "have sha256 dddddddddddd" in pinned[0]

    # changed after it was fetched
    file = tmp_path / "sd-vae/config.json"
    file.write_text(file.read_text() + " ")
    assert [p for p in problems(preset, "latent_codec") if "is not the file that was fetched" in p]

    with pytest.raises(WeightsError, match="holds neither someone/codec/config"):
        fetch(chosen, tmp_path / "elsewhere", source=str(tmp_path / "empty"))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(WeightsError, match="the disk is full"):
        fetch(chosen, tmp_path / "full", source=str(published))
    assert not read_lock(tmp_path / "full")


SHELL = """
import json, sys
import paha_core.weights.manifest as module
listed = module.Manifest(**json.loads(sys.argv.pop(1)))
module.manifest = lambda: listed
from paha_core.cli import app
app()
"""


def shell(hub_url, listed, folder, *arguments):
    """`paha ARGUMENTS` in a process of its own, with another manifest and that hub as mirror."""
    environment = os.environ | {
        "HF_ENDPOINT": hub_url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "hf_home"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "COLUMNS": "200",
    }
    command = [sys.executable, "-c", SHELL, json.dumps(listed), *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, text=True, capture_output=True, timeout=240
    )


def test_the_command_fills_a_preset_from_a_mirror_and_the_networks_open(published, tmp_path):
    """The paper's key for each way of reading: a folder of safetensors deep in a repository, a
    `.bin` of tensors, one ONNX file, TorchScript."""
    from diffusers import UNet3DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from paha_core.models.weight_files import find_weights, read_state

    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=(32,), down_block_types=("DownBlock3D",), up_block_types=("UpBlock3D",),
        layers_per_block=1, cross_attention_dim=8, attention_head_dim=8, norm_num_groups=8,
    )  # fmt: skip
    unet.save_pretrained(published / "a/t2v/unet", safe_serialization=False)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "projection_dim": 8}
    small |= {"num_attention_heads": 1, "image_size": 32, "patch_size": 16}
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**small))
    clip.save_pretrained(published / "a/adapter/models/image_encoder")
    (published / "a/pose").mkdir()
    (published / "a/pose/pose.onnx").write_bytes(b"onnx" * 99)
    script = torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 3))
    script.save(str(published / "a/pose/i3d.pt"))
    for repo in ("t2v", "adapter", "pose"):
        (published / f"a/{repo}/COMMIT").write_text("d" * 40)
    weights = {
        "modelscope-t2v": entry(
            repo="a/t2v", key="univdm.network.pretrained", stages=["univdm"], read_as="tensors",
            files={"unet/config.json": {}, "unet/diffusion_pytorch_model.bin": {}},
            licence="cc-by-nc-4.0",
        ),
        "sd-vae": entry(),
        "clip-vit-h": entry(
            repo="a/adapter", folder="models/image_encoder", key="reference.pretrained",
            stages=["training_shards"], files={"config.json": {}, "model.safetensors": {}},
        ),
        "dwpose": entry(
            repo="a/pose", key="pose.dwpose_pose", stages=["keypoints"], gives="file",
            files={"pose.onnx": {}}, read_as="onnx",
        ),
        "i3d": entry(
            repo="a/pose", key="benchmark.i3d", stages=["benchmark"], gives="file",
            files={"i3d.pt": {}}, read_as="torchscript",
        ),
    }  # fmt: skip
    listed = {"weights": weights, "licences": manifest().settings()["licences"]}
    only = [word for name in weights for word in ("--only", name)]
    with Hub(published) as hub:
        refused = shell(hub.url, listed, tmp_path, "weights", "fetch", "paper", *only)
        assert not (tmp_path / "weights").exists(), "nobody agreed to the licences"
        assert "CC BY-NC 4.0" in refused.stdout
        done = shell(hub.url, listed, tmp_path, "weights", "fetch", "paper", *only, "--yes")
    assert "8 files fetched, 0 were there" in done.stdout, done.stdout + done.stderr
    preset = load_preset(tmp_path / "weights/paper.yaml")
    assert preset.univdm.network.revision == preset.reference.revision == "d" * 40
    assert "conv_in.weight" in read_state(find_weights(preset.univdm.network.pretrained))
    CLIPVisionModelWithProjection.from_pretrained(preset.reference.pretrained)
    assert Path(preset.pose.dwpose_pose).read_bytes() == b"onnx" * 99
    assert torch.jit.load(preset.benchmark.i3d)(torch.zeros(1, 2, 3)).shape == (1, 6)
    fetched = ("univdm", "latent_codec", "benchmark")
    assert [problem for stage in fetched for problem in problems(preset, stage)] == []


def test_a_disk_that_fills_while_downloading_is_said_so(published, tmp_path):
    """The partial file is /dev/full: every write to it fails as on a full disk."""
    file = "diffusion_pytorch_model.safetensors"
    etag = hashlib.sha256((published / "someone/codec" / file).read_bytes()).hexdigest()
    (tmp_path / "w/x").mkdir(parents=True)
    (tmp_path / f"w/x/.{file}.{etag[:16]}.part").symlink_to("/dev/full")
    with Hub(published) as hub:
        wanted = {"x": entry(files={file: {}})}
        _, errors = run_fetch(hub.url, wanted, tmp_path / "w").communicate(timeout=120)
    assert "the disk is full" in errors
    assert "Traceback" not in errors
    assert not read_lock(tmp_path / "w")


def test_what_has_no_address_is_asked_of_the_user(tmp_path):
    manual = entry(repo="", manual="its authors' page", files={"net.onnx": {}}, gives="file")
    chosen = {"own": PretrainedWeights(**manual)}
    done = fetch(chosen, tmp_path)
    assert done.manual == {"own": f"its authors' page; put it at {tmp_path / 'own/net.onnx'}"}
    (tmp_path / "own").mkdir()
    (tmp_path / "own/net.onnx").write_bytes(b"network")
    assert fetch(chosen, tmp_path).manual == {}
    assert read_lock(tmp_path)["own"]["files"]["net.onnx"]["bytes"] == 7


def test_the_bare_paper_preset_is_refused_with_what_it_lacks():
    result = CliRunner().invoke(app, ["preset", "check", "paper"])
    assert result.exit_code == 1
    assert "univdm.network.pretrained names MODELSCOPE_T2V_UNET, which is not here" in result.output
    assert "paha weights fetch paper --only modelscope-t2v" in result.output
    assert "corpora.pats names PATS.csv, which does not exist" in result.output
    assert CliRunner().invoke(app, ["preset", "check", "demo"]).exit_code == 0


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["run", "univdm"], "univdm.network.pretrained"),
        (["run", "report"], "pose.dwpose_pose"),
        (["train", "univdm"], "univdm.network.pretrained"),
        (["benchmark", "table1"], "reference.pretrained"),
    ],
)
def test_every_way_in_names_what_is_missing_before_it_does_anything(tmp_path, command, key):
    result = CliRunner().invoke(app, [*command, "-p", "paper", "--store", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert f"{key} names" in result.output.replace("\n", " ")
    assert "paha weights fetch paper --only" in result.output.replace("\n", " ")
    assert not list(tmp_path.glob("s/*/*")), "nothing was begun"


def test_a_metrics_network_is_missed_by_its_stage_and_by_tables(tmp_path):
    lacking = derived(load_preset("demo"), {"benchmark": {"i3d": str(tmp_path / "gone.pt")}})
    for stage in ("benchmark", "table2"):
        [problem] = problems(lacking, stage)
        assert "benchmark.i3d names" in problem
        assert "--only i3d" in problem
    assert problems(lacking, "clips") == []


def test_torchscript_is_opened_for_metrics_alone_and_pickles_never():
    scripts = {n for n, entry in manifest().weights.items() if entry.read_as == "torchscript"}
    assert scripts == {"i3d", "inception", "lpips"}
    package = Path(paha_core.__file__).parent
    sources = {path: path.read_text() for path in package.rglob("*.py")}
    assert [p.name for p, text in sources.items() if "jit.load(" in text] == ["video_features.py"]
    for text in sources.values():
        assert text.count("torch.load(") == text.count("weights_only=True)")
        assert "weights_only=False" not in text


def test_licences_add_up():
    assert summary(parts_of(load_preset("demo"))) == "no part forbids any use"
    paper = summary(parts_of(load_preset("paper")))
    assert "not for commercial use, because of ModelScope text-to-video 1.7b" in paper
    assert "no licence is stated for pats" in paper
    permissive = summary(parts_of(load_preset("paper_permissive")))
    assert "commercial" not in permissive


def test_list_and_dry_run_fetch_nothing(tmp_path):
    listed = CliRunner().invoke(app, ["weights", "list", "--to", str(tmp_path / "w")])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in manifest().weights)
    shown = CliRunner().invoke(
        app, ["weights", "fetch", "paper", "--dry-run", "--to", str(tmp_path / "w")]
    )
    assert "stabilityai/sd-vae-ft-mse @ 31f26fdeee13" in shown.output
    assert not (tmp_path / "w").exists()


def test_the_manifest_is_readable_yaml():
    path = Path(sys.modules["paha_core.weights"].__path__[0]) / "manifest.yaml"
    assert yaml.safe_load(path.read_text()).keys() == {"weights", "licences"}
