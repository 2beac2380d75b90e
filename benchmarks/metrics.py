"""Videos per second of each metric: against the plain published recipe, and as a run measures them.

    python benchmarks/metrics.py

The plain recipe works on one video at a time and takes SciPy's `sqrtm`; the times of the Fréchet
distances include the bootstrap interval of every row. Results are the same to 1e-4 of their size,
or this script fails. The second table times every metric on one drawn clip of 57 frames at 256
pixels, by the functions that `paha_core.benchmark.measuring.video_metrics` calls; SyncNet has its
full size and random weights. Medians of several rounds, one thread.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.linalg import sqrtm

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_metrics import ON_CPU, measure
from paha_core.benchmark.measuring.videos import KeypointSource, SystemVideo, load_frames
from paha_core.config import load_preset
from paha_core.corpora.studio import programme as studio
from paha_core.media.audio import read_audio, write_wav
from paha_core.media.encode import write_video
from paha_core.metrics import beats, lips, video_quality
from paha_core.metrics.beats import beat_alignment
from paha_core.metrics.bootstrap import bootstrap_statistic, each_resample
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.frechet import FrechetReference
from paha_core.metrics.identity import HogColour, descriptors, identity_similarity
from paha_core.metrics.pose_features import (
    PoseAutoencoder,
    gesture_points,
    pose_features,
    pose_windows,
)
from paha_core.metrics.video_features import SmallR3D, preprocess, video_features, windows_of
from paha_core.models.syncnet import SyncNet, shift_distances, sync_score
from paha_core.pose.face import detect_face_boxes
from paha_core.pose.layout import FACE, HANDS
from paha_core.store import Store, sha256_file

CLIPS, WINDOWS, ROUNDS, BOOTSTRAP, FRAMES = 16, 5, 3, 50, 57
RNG = np.random.default_rng(0)
T = TypeVar("T")


def present(value: T | None) -> T:
    """The value of a metric that the drawn clip has."""
    assert value is not None
    return value


def seconds(work: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, Any]:
    """The median time of `work`, and what it returned."""
    times, result = [], None
    for _ in range(rounds):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def plain_frechet(features: np.ndarray, reference: np.ndarray) -> float:
    """As in published code: covariances, their product, a general matrix square root."""
    mean_a, mean_b = features.mean(0), reference.mean(0)
    a, b = np.cov(features, rowvar=False), np.cov(reference, rowvar=False)
    root = sqrtm(a @ b)
    if not np.isfinite(root).all():
        offset = np.eye(len(a)) * 1e-6
        root = sqrtm((a + offset) @ (b + offset))
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(a + b - 2 * root.real))


def frechet(dimensions: int) -> tuple[Callable[[], object], Callable[[], object]]:
    groups = [RNG.normal(0.3, 1.2, (WINDOWS * 4, dimensions)) for _ in range(CLIPS)]
    reference = RNG.normal(size=(4 * dimensions + 200, dimensions))

    def ours() -> object:
        distances = FrechetReference(reference).distances
        return bootstrap_statistic([groups], distances, rounds=BOOTSTRAP, seed=0).value

    def plain() -> object:
        def distance(features: np.ndarray) -> float:
            return plain_frechet(features, reference)

        statistic = each_resample(distance)
        return bootstrap_statistic([groups], statistic, rounds=BOOTSTRAP, seed=0).value

    return ours, plain


def moments() -> tuple[Callable[[], object], Callable[[], object]]:
    """FVD's paper size, 480 clips in 400 dimensions: rounds from each clip's moments, and from all
    samples. One noise and 10 rounds; a table has 3 and 1,000, and its time is proportional."""
    mixing = RNG.normal(size=(400, 400)) / 20
    reference = FrechetReference(RNG.normal(size=(4000, 400)) @ mixing)
    groups = [RNG.normal(0.1, 1.1, (12, 400)) @ mixing for _ in range(480)]
    picks = RNG.integers(480, size=(10, 480))

    def plain() -> object:
        return each_resample(reference.distance)(groups, picks)

    return lambda: reference.distances(groups, picks), plain


def spread() -> tuple[Callable[[], object], Callable[[], object]]:
    features = RNG.normal(size=(CLIPS * WINDOWS, 32))

    def plain() -> object:
        rng, total = np.random.default_rng(0), []
        for _ in range(16):
            order = derangement(len(features), rng)
            pairs = zip(features, features[order], strict=True)
            total.append(np.mean([np.abs(a - b).sum() for a, b in pairs]))
        return float(np.mean(total))

    return lambda: diversity(features), plain


def alignment() -> tuple[Callable[[], object], Callable[[], object]]:
    clips = [(np.sort(RNG.uniform(0, 10, 30)), np.sort(RNG.uniform(0, 10, 20))) for _ in range(99)]

    def plain() -> object:
        values = []
        for ours, others in clips:
            total = 0.0
            for beat in ours:
                total += np.exp(-((min(abs(beat - o) for o in others) * 25) ** 2) / (2 * 3.0**2))
            values.append(total / len(ours))
        return float(np.mean(values))

    return lambda: float(np.mean([present(beat_alignment(*clip)) for clip in clips])), plain


def sync() -> tuple[Callable[[], object], Callable[[], object]]:
    video, audio = (RNG.normal(size=(95, 1024)) for _ in range(2))

    def plain() -> object:
        seen, padded = torch.from_numpy(video), torch.from_numpy(np.pad(audio, ((15, 15), (0, 0))))
        rows = [
            torch.nn.functional.pairwise_distance(seen[[i]].repeat(31, 1), padded[i : i + 31])
            for i in range(len(seen))
        ]
        return torch.stack(rows, 1).mean(1).numpy()

    return lambda: shift_distances(video, audio), plain


def video() -> tuple[Callable[[], object], Callable[[], object]]:
    frames = RNG.integers(0, 255, (56, 128, 128, 3), dtype=np.uint8)
    space = SmallR3D().eval().requires_grad_(False)

    def plain() -> object:
        found = [space.encode(one[None]) for one in windows_of(preprocess(frames, space.side))]
        return torch.cat(found).numpy()

    return lambda: video_features(space, frames), plain


def drawn_video(store: Store) -> SystemVideo:
    """A presenter of the studio with voice and reference, as another system's files."""
    import cv2

    programme = studio.prepare("lin", 0, seconds=4, height=256, seed=0)
    x, y, side = programme.crop
    drawn = [
        f[y : y + side, x : x + side] for f, _ in zip(studio.draw_frames(programme), range(FRAMES))
    ]
    sound = studio.sound(programme)[:, 0].astype(np.float32) / 32768
    with store.writing("a.wav") as path:
        write_wav(path, sound, programme.form.sample_rate)
    with store.writing("a.png") as path:
        cv2.imwrite(str(path), drawn[0][:, :, ::-1])
    with store.writing("a.mp4") as path:
        write_video(path, np.stack(drawn))
        sha256 = sha256_file(path)
    return SystemVideo("drawn", "external/drawn/a", "a.mp4", sha256, FRAMES, "a.wav", "a.png")


def as_a_run_measures(folder: Path) -> dict[str, Callable[[], object]]:
    """The functions that compute each metric of one video, by title."""
    store, preset = Store(str(folder)), load_preset("demo")
    video = drawn_video(store)
    source = KeypointSource(store, preset)
    extractors = Extractors(source)
    frames, seen = load_frames(store, video), source.of(video)
    assert seen is not None
    source.of_picture(video.reference)  # kept, as it is for all videos of a clip
    wave, luma = read_audio(store.full("a.wav"), 16_000), video_quality.grey(frames)
    points, scores = seen.points, seen.scores
    gestures, mouth = gesture_points(seen), lips.mouth_openness(points, scores)
    assert gestures is not None
    assert mouth is not None
    faces, space = HogColour(), SmallR3D().eval().requires_grad_(False)
    network, poses = SyncNet().eval(), PoseAutoencoder(window=34).eval()
    pose = preset.pose.model_copy(update={"face_box_scale": 1.0})

    def background() -> object:
        cells = present(video_quality.person_cells(points, scores, seen.size))
        mask = present(video_quality.background_mask([cells], seen.size))
        flicker = video_quality.flicker(luma, mask)
        return flicker, video_quality.background_psnr(frames, frames[0], mask)

    def regions() -> object:
        return [
            (video_quality.sharpness(luma, points, scores, part),
             video_quality.region_flicker(luma, points, scores, part))
            for part in (FACE, HANDS)
        ]  # fmt: skip

    def identity() -> object:
        found = descriptors(faces, frames, points, scores)
        return identity_similarity(found, found[:1])

    def sync() -> object:
        boxes = detect_face_boxes(frames, pose)
        at = np.where(boxes.found[:, None], boxes.boxes, np.nan)
        return sync_score(network, frames, wave, at, min_frames=50, min_size=20)

    def everything() -> object:
        for rel in store.glob("metrics/videos/*.json"):
            store.remove(rel)
        return measure(source, extractors, video, ON_CPU)

    return {
        "keypoints, MediaPipe": lambda: source.detector.detect(frames),
        "lip correlation": lambda: lips.lip_correlation(
            present(lips.mouth_openness(points, scores)), mouth
        ),
        "BAS, both directions": lambda: beat_alignment(
            beats.audio_beats(wave), beats.motion_beats(present(gesture_points(seen)))
        ),
        "beat error": lambda: beats.beat_error(
            beats.stroke_ends(present(gesture_points(seen))), np.array([0.5])
        ),
        "background: PSNR, flicker": background,
        "face and hands: sharpness, flicker": regions,
        "identity[hog-colour]": identity,
        "FGD and Diversity: features": lambda: pose_features(poses, pose_windows(gestures)),
        "FVD[studio-r3d]: features": lambda: video_features(space, frames),
        "Sync-C: face track and SyncNet": sync,
        "all of these but features and Sync-C": everything,
    }


METRICS = {
    "FGD and its interval, 32 dimensions": (frechet(32), CLIPS),
    "FVD and its interval, 400 dimensions": (frechet(400), CLIPS),
    "FVD, 10 rounds over 480 clips": (moments(), 10),
    "Diversity": (spread(), CLIPS),
    "BAS": (alignment(), 99),
    "Sync-C distances": (sync(), 1),
    "video features": (video(), 1),
}


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'metric':40} {'ours':>12} {'plain':>12}  videos a second")
    for name, ((ours, plain), videos) in METRICS.items():
        ours_time, ours_value = seconds(ours)
        plain_time, plain_value = seconds(plain)
        np.testing.assert_allclose(ours_value, plain_value, rtol=1e-4, atol=1e-4)
        print(f"{name:40} {videos / ours_time:12.1f} {videos / plain_time:12.1f}  equal to 1e-4")
    print(f"\n{'as a run measures them':40} {'ms a video':>12}  videos a second")
    with tempfile.TemporaryDirectory() as folder:
        for name, work in as_a_run_measures(Path(folder)).items():
            spent, _ = seconds(work, 1 if "SyncNet" in name else ROUNDS)
            print(f"{name:40} {1000 * spent:12.1f} {1 / spent:12.1f}")


if __name__ == "__main__":
    main()
