"""The registry of metrics: one row each, read by the benchmark, the report and the history.

To add one: a function in this package, a row here, and an entry of `MEASURES` in
`paha_core.benchmark.measuring.video_metrics` (CONTRIBUTING.md has the recipe). Its name is part
of what results are cached by, so that stored ones are completed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from paha_core.config import Preset

Direction = Literal["up", "down", "real"]
MetricGroup = Literal["Gesture", "Lips", "Picture", "Time"]
Kind = Literal["clip", "windows", "repeats"]
PlotKind = Literal["radar", "trend", "trade_off"]
Reads = Literal[
    "keypoints",
    "beats",
    "truth",
    "real_lips",
    "loudness",
    "clock",
    "pose_autoencoder",
    "r3d",
    "i3d",
    "inception",
    "lpips",
    "syncnet",
    "arcface",
    "hog",
]
NETWORKS: tuple[Reads, ...] = (
    "pose_autoencoder",
    "r3d",
    "i3d",
    "inception",
    "lpips",
    "syncnet",
    "arcface",
    "hog",
)
"""What is read through a network of `paha_core.benchmark.measuring.extractors`."""


@dataclass(frozen=True)
class Metric:
    """`direction`: which way is better. `real`: the nearer to the real videos' value the better,
    since both a blurred and an oversharpened picture are wrong.
    `kind`: what one sample is. A number for each `clip`; feature vectors of `windows`, of which
    only all clips together have a value; seconds of timed `repeats`.
    `reads`: what extracts it; a name of `NETWORKS` or how the cell's extractor is described.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    group: MetricGroup
    kind: Kind = "clip"
    reads: Reads = "keypoints"
    digits: int = 3
    reference: Literal["", "train", "real"] = ""  # of a Fréchet distance: whose windows
    across_clips: bool = False  # one clip's value needs the system's other clips
    claims_sync: bool = False  # picture and voice go together: a shifted voice makes it worse
    control: bool = False  # shows what chance gives: no system wins it, and it never regresses
    stands_for: str = ""  # the published metric whose claims it is held against, marked so
    corpus: Literal["", "drawn", "filmed"] = ""  # the only kind of corpus that has it
    headline: str = ""  # what it is called among a report's first figures; empty: not there
    plots: tuple[PlotKind, ...] = ()


# fmt: off
METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        # name, title, unit, direction, group, kind, reads, digits
        Metric("fgd", "FGD", "", "down", "Gesture", "windows", "pose_autoencoder", 2,
               reference="train", headline="Fréchet gesture distance",
               plots=("radar", "trend", "trade_off")),
        Metric("fgd_held_out", "FGD, held-out clips as reference", "", "down", "Gesture", "windows",
               "pose_autoencoder", 2, reference="real"),
        Metric("diversity", "Diversity", "", "up", "Gesture", "windows", "pose_autoencoder", 2,
               plots=("radar",)),
        Metric("bas", "BAS", "", "up", "Gesture", "clip", "beats",
               plots=("radar", "trend", "trade_off")),
        Metric("bas_aist", "BAS, AIST++ way", "", "up", "Gesture", "clip", "beats"),
        Metric("bas_bailando", "BAS, Bailando's code", "", "up", "Gesture", "clip", "beats"),
        Metric("beat_error", "Beat error, drawn truth", "s", "down", "Gesture", "clip", "truth",
               claims_sync=True),
        Metric("hkc[dwpose]", "HKC[dwpose]", "mean score", "up", "Gesture"),
        Metric("hkc_left[dwpose]", "HKC[dwpose], left hand", "mean score", "up", "Gesture"),
        Metric("hkc_right[dwpose]", "HKC[dwpose], right hand", "mean score", "up", "Gesture"),
        Metric("hand_deviation", "Hand deviation over time", "shoulder widths", "real", "Gesture"),
        Metric("hand_deviation_left", "Hand deviation over time, left", "shoulder widths", "real",
               "Gesture"),
        Metric("hand_deviation_right", "Hand deviation over time, right", "shoulder widths",
               "real", "Gesture"),
        Metric("head_motion[pnp]", "Head motion[PnP], THEval", "degrees and pixels", "real",
               "Gesture", digits=2),
        Metric("eyebrows[68]", "Eyebrows[68 points], THEval", "eye distances", "real", "Gesture",
               digits=4),
        Metric("lip_correlation", "Lip correlation", "", "up", "Lips", "clip", "real_lips",
               claims_sync=True, stands_for="sync_c",
               headline="lip correlation with the real video", plots=("trend",)),
        Metric("lip_correlation_truth", "Lip correlation, drawn truth", "", "up", "Lips", "clip",
               "truth", claims_sync=True, stands_for="sync_c",
               headline="lip correlation with the drawn truth",
               plots=("radar", "trend", "trade_off")),
        Metric("lip_correlation_exchanged", "Lip correlation, audio exchanged", "", "down", "Lips",
               "clip", "truth", across_clips=True, control=True),
        Metric("lip_dynamics[68]", "Lip dynamics[68 points], THEval", "px of 256", "real", "Lips",
               digits=2),
        Metric("lip_loudness_error[68]", "Lip sync[68 points], THEval", "", "real", "Lips", "clip",
               "loudness"),
        Metric("sync_c", "Sync-C", "", "up", "Lips", "clip", "syncnet", 2, claims_sync=True,
               plots=("radar",)),
        Metric("sync_d", "Sync-D", "", "down", "Lips", "clip", "syncnet", 2, claims_sync=True),
        Metric("sync_c_codec", "Sync-C, every video encoded alike", "", "up", "Lips", "clip",
               "syncnet", 2, claims_sync=True),
        Metric("face_track", "Face track for Sync-C", "share of clips", "up", "Lips", "clip",
               "syncnet"),
        Metric("face_share", "Face found", "share of frames", "up", "Picture",
               headline="of the frames show a face", plots=("trend",)),
        Metric("background_psnr", "Background PSNR", "dB", "up", "Picture", digits=1,
               headline="dB PSNR of the background"),
        Metric("sharpness_face", "Sharpness, face", "grey levels²", "real", "Picture", digits=0),
        Metric("sharpness_hands", "Sharpness, hands", "grey levels²", "real", "Picture", digits=0,
               plots=("radar",)),
        Metric("flicker", "Background flicker", "grey levels", "down", "Picture", digits=2),
        Metric("flicker_face", "Flicker, face", "grey levels", "real", "Picture", digits=2),
        Metric("flicker_hands", "Flicker, hands", "grey levels", "real", "Picture", digits=2),
        Metric("drift_colour", "Drift, colour", "levels of 255", "down", "Picture", digits=2),
        Metric("drift_background", "Drift, background", "grey levels", "down", "Picture", digits=2),
        Metric("drift_sharpness", "Drift, face sharpness", "ln ratio", "down", "Picture"),
        Metric("drift_identity", "Drift, Identity[hog-colour]", "1 - cosine", "down", "Picture",
               "clip", "hog"),
        Metric("identity", "Identity", "cosine", "up", "Picture", "clip", "arcface"),
        Metric("identity_hog", "Identity[hog-colour]", "cosine", "up", "Picture", "clip", "hog",
               plots=("radar",)),
        Metric("lpips", "LPIPS", "", "down", "Picture", "clip", "lpips"),
        Metric("fid", "FID", "", "down", "Picture", "windows", "inception", 1, reference="train"),
        Metric("fvd", "FVD", "", "down", "Picture", "windows", "i3d", 1,
               reference="train", plots=("radar",)),
        Metric("fvd[studio-r3d]", "FVD[studio-r3d]", "", "down", "Picture", "windows", "r3d", 1,
               reference="train", stands_for="fvd", corpus="drawn",
               plots=("radar", "trend", "trade_off")),
        Metric("fvd[corpus-r3d]", "FVD[corpus-r3d]", "", "down", "Picture", "windows", "r3d", 1,
               reference="train", stands_for="fvd", corpus="filmed",
               plots=("radar", "trend", "trade_off")),
        Metric("tc", "Time cost", "s per segment", "down", "Time", "repeats", "clock", 2,
               headline="seconds per segment"),
        Metric("tc_solver", "Time cost, solver", "s per segment", "down", "Time", "repeats",
               "clock", 2),
        Metric("tc_classifiers", "Time cost, classifiers", "s per segment", "down", "Time",
               "repeats", "clock", 2),
        Metric("tc_codec", "Time cost, codec", "s per segment", "down", "Time", "repeats",
               "clock", 2),
    )
}
# fmt: on
GROUPS: dict[MetricGroup, list[Metric]] = {
    group: [metric for metric in METRICS.values() if metric.group == group]
    for group in get_args(MetricGroup)
}
"""In the order in which a report shows them."""


def metrics_of(preset: Preset) -> list[Metric]:
    """The metrics that a preset's corpus can have; each has a row in its results, also where its
    value is missing."""
    corpus = "filmed" if preset.corpora.studio is None else "drawn"
    return [metric for metric in METRICS.values() if metric.corpus in ("", corpus)]


def plotted(plot: PlotKind) -> list[Metric]:
    """The metrics that a kind of plot shows."""
    return [metric for metric in METRICS.values() if plot in metric.plots]


def fvd_stand_in(preset: Preset) -> Metric:
    """The stand-in of FVD: its feature network is trained on the corpus, and its name depends on
    whether that is drawn or filmed."""
    return next(metric for metric in metrics_of(preset) if metric.reads == "r3d")


def shortfall(direction: str, value: float, real: float | None) -> float | None:
    """How bad a value is: lower is better, whatever the direction. None where that is not defined:
    a direction of `real` without the real videos' value.
    """
    if direction == "real":
        return None if real is None else abs(value - real)
    return -value if direction == "up" else value
