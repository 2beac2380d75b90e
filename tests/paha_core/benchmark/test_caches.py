"""What a number depends on is in the name under which it is kept, by content."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_metrics import MEASURES, ON_CPU, measure, measured_path
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    SystemVideo,
    collect_videos,
    load_frames,
)
from paha_core.benchmark.run import results_fingerprint
from paha_core.config import Preset
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import Missing
from paha_core.store import Store

VIDEO = SystemVideo("S2G", "external/S2G/a", "a.mp4", "1" * 64, 40, "a.wav", "a.png")


def changed(preset: Preset, **benchmark) -> Preset:
    settings = preset.benchmark.model_copy(update=benchmark)
    return preset.model_copy(update={"benchmark": settings})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    for rel in ("a.wav", "a.png", "sources/truth/oliver/one.npz"):
        store.write_bytes(rel, b"before")
    return store


@pytest.mark.parametrize("rel", ["a.wav", "a.png", "sources/truth/oliver/one.npz"])
def test_a_file_that_changed_in_its_place_is_noticed(
    rel: str, store: Store, run_preset: Preset
) -> None:
    def names() -> list[str]:
        source = KeypointSource(store, run_preset)
        extractors = Extractors(source)
        result = results_fingerprint(store, run_preset, {"S2G": [VIDEO], "real": []})
        return [measured_path(source, extractors, VIDEO, ON_CPU), result]

    before = names()
    assert names() == before
    store.write_bytes(rel, b"after")
    one_video, all_results = names()
    assert all_results != before[1]
    assert (one_video != before[0]) == (not rel.endswith(".npz"))  # truth is compared later


def test_weights_are_known_by_content(store: Store, run_preset: Preset, tmp_path: Path) -> None:
    weights = tmp_path / "net.pt"
    preset = changed(run_preset, i3d=str(weights))
    found = []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        found.append(results_fingerprint(store, preset, {"real": []}))
    assert found[0] != found[1]


def test_features_are_kept_by_network_protocol_and_length(
    run_store: Store, run_preset: Preset
) -> None:
    def path(preset: Preset, video: SystemVideo = VIDEO) -> str:
        return Extractors(KeypointSource(run_store, preset)).network("r3d").path(video)

    other = changed(run_preset, min_face=10)  # any setting of the protocol
    names = {path(run_preset), path(other), path(run_preset, replace(VIDEO, frames=20))}
    assert len(names) == 3


def test_keypoints_are_kept_by_size_and_length(
    store: Store, run_preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(store: Store, video: SystemVideo) -> np.ndarray:
        return np.full((video.frames, 32, 48, 3), 128, np.uint8)

    monkeypatch.setattr("paha_core.benchmark.measuring.videos.load_frames", frames)
    source = KeypointSource(store, run_preset)
    assert len(source.of(VIDEO)) == 40
    assert len(source.of(replace(VIDEO, frames=20))) == 20
    clip = run_preset.corpora.clip.model_copy(update={"size": 64})
    corpora = run_preset.corpora.model_copy(update={"clip": clip})
    smaller = KeypointSource(store, run_preset.model_copy(update={"corpora": corpora}))
    assert (source.of(VIDEO).size, smaller.of(VIDEO).size) == ((128, 128), (64, 64))


def test_a_new_metric_is_measured_although_all_else_is_cached(
    store: Store, run_preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> tuple[str, str]:
        source = KeypointSource(store, run_preset)
        one = measured_path(source, Extractors(source), VIDEO, sorted(MEASURES))
        return one, results_fingerprint(store, run_preset, {"S2G": [VIDEO], "real": []})

    before = names()
    monkeypatch.setitem(METRICS, "new", replace(METRICS["bas"], name="new"))
    monkeypatch.setitem(MEASURES, "new", MEASURES["bas"])
    after = names()
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_video_without_keypoints_has_that_reason_everywhere(
    store: Store, run_preset: Preset
) -> None:
    video = replace(VIDEO, clip_id="pats/oliver/9", shows="pats/oliver/9")  # its row was rejected
    source = KeypointSource(store, run_preset)
    found = measure(source, Extractors(source), video, ON_CPU).values
    assert found.keys() == set(ON_CPU)
    assert found["face_share"] == found["bas"] == Missing("the clip has no keypoints")
    assert found["identity"] == Missing("needs ArcFace weights: benchmark.arcface names none")
    assert found["lip_correlation"].reason.startswith("1 by definition")


def test_a_damaged_weight_file_is_a_missing_cell_with_that_reason(
    store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    weights = tmp_path / "arcface.onnx"
    weights.write_bytes(b"hello")
    preset = changed(run_preset, arcface=str(weights), i3d=str(tmp_path / "none.pt"))
    extractors = Extractors(KeypointSource(store, preset))
    assert "cut off or damaged" in extractors.missing("identity").reason
    assert "no I3D weights" in extractors.missing("fvd").reason
    assert extractors.missing("identity_hog") is None


class Colours(torch.nn.Module):
    """Stands for a perceptual network: the mean colour, 0 to 1."""

    def forward(self, img, resize_images: bool, return_lpips: bool):
        return img.mean([2, 3]) / 255


def test_lpips_is_against_the_real_clip_of_the_same_voice(
    run_store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    torch.jit.script(Colours()).save(str(tmp_path / "vgg16.pt"))
    preset = changed(run_preset, lpips=str(tmp_path / "vgg16.pt"))
    systems = collect_videos(run_store, preset)
    video = systems["sequential"][0]
    real = next(each for each in systems["real"] if each.clip_id == video.clip_id)
    source = KeypointSource(run_store, preset)
    extractors = Extractors(source)
    values = [
        measure(source, extractors, each, ["lpips"]).values["lpips"] for each in (video, real)
    ]
    made, shown = (load_frames(run_store, each)[::8].mean((1, 2)) / 255 for each in (video, real))
    assert values[0] == pytest.approx(np.square(made - shown).sum(1).mean(), rel=0.02)
    assert values[1] == Missing("0 by definition: this is the real clip")
