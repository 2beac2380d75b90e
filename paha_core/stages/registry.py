"""The stages of the pipeline, in order, each described in this one place.

Assets, jobs, the command line and `paha status` are made from `STAGES`; README's table repeats it
(a test compares them). To add a stage: write its function (`data.py`, `training.py` or
`results.py`) and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from paha_core.errors import StageError
from paha_core.stages.data import (
    find_face_boxes,
    find_keypoints,
    ingest_clips,
    make_par_masks,
    render_programmes,
)
from paha_core.stages.results import build_report, generate_clips, run_benchmark, run_table
from paha_core.stages.stage_report import StageReport
from paha_core.stages.training import (
    distill_univdm,
    make_negatives,
    make_training_shards,
    train_classifier,
    train_latent_codec,
    train_pose_autoencoder,
    train_univdm,
    train_video_encoder,
)
from paha_core.trained import CLASSIFIERS, FEATURE_NETWORKS, UNIVDM_FAST, Part, classifier_name

if TYPE_CHECKING:
    from paha_core.config import Preset

StageGroup = Literal["data", "networks", "results", "tables"]
# What shows that a stage is done: a manifest for each dataset or guidance mode, a trained network,
# or else a file of the store.
Output = Literal["manifest", "modes", "network"]


@dataclass(frozen=True)
class Stage:
    """One stage: how it is called, what it reads, and how it is shown.

    `run` is called as `run(store, preset, *arguments)`, once for each dataset (its name comes last)
    with `per_dataset`, with `on_metrics=` where the output is a network.
    """

    run: Callable[..., StageReport]
    title: str  # what it does, in a line
    description: str  # the asset's description in Dagster
    group: StageGroup
    kinds: tuple[str, ...]  # Dagster's badges: what it computes with, what it writes
    code: str  # where to read it, relative to the repository
    output: Output | str
    paper: str = ""  # sections and equations
    needs: tuple[str, ...] = ()  # stages whose results it reads
    shows: tuple[str, ...] = ()  # stages whose results it shows where they exist
    arguments: tuple[str | int, ...] = ()
    per_dataset: bool = False
    on_device: bool = False  # computes on the GPU, where there is one: one such stage at a time
    has_external_inputs: bool = False  # reads inputs from outside the pipeline
    code_version: str = "1"
    replaced: Callable[[Preset], str | None] = lambda preset: (
        None
    )  # what the preset provides instead of the stage

    @property
    def trains(self) -> bool:
        return self.output == "network"


# What a classifier sees, and what its gradient guides.
REGIONS: dict[Part, tuple[str, str]] = {
    "face": ("the face", "the face"),
    "non_face": ("everything but the face", "gestures"),
}
RUNNABLE = (1, 2, 3, 5, 6, 7)  # the paper's tables that can be run; 4 is the user study
TABLE_NAMES = tuple(f"table{number}" for number in RUNNABLE)

STAGES: dict[str, Stage] = {
    "programmes": Stage(
        render_programmes,
        "renders the studio corpus: long mp4 programmes, a PATS-form csv, ground truth apart",
        "Raw programmes of drawn presenters, spoken by espeak-ng, in the form of real footage.\n\n"
        "A programme whose settings are unchanged is not rendered again. A preset with real "
        "footage renders nothing.",
        group="data",
        kinds=("ffmpeg", "python"),
        code="paha_core/corpora/studio",
        output="sources/corpus.json",
        has_external_inputs=True,
        replaced=lambda preset: "" if preset.corpora.studio else "the preset's own footage",
    ),
    "clips": Stage(
        ingest_clips,
        "PATS intervals and raw programmes to 25 fps clips; what can't be used is a row with its "
        "reason",
        "Square clips at 25 fps with their audio beside them, cut from PATS intervals or raw "
        "programmes.\n\nWhat can't be used (truncated, silent, without a face) is a rejected row "
        "with its reason.",
        group="data",
        kinds=("ffmpeg", "parquet"),
        code="paha_core/corpora",
        output="manifest",
        paper="5.1, C",
        needs=("programmes",),
        has_external_inputs=True,
        per_dataset=True,
        code_version="2",
    ),
    "keypoints": Stage(
        find_keypoints,
        "133-point whole-body poses: DWPose from your ONNX files, MediaPipe otherwise",
        "The 133 COCO-WholeBody points of every frame, with scores, by the preset's detector.",
        group="data",
        kinds=("onnx", "parquet"),
        code="paha_core/pose",
        output="manifest",
        paper="B.2.1",
        needs=("clips",),
        per_dataset=True,
    ),
    "face_boxes": Stage(
        find_face_boxes,
        "the face's box in every frame",
        "The face's box in every frame, widened by the preset's scale: by MediaPipe's face "
        "detection, or from the keypoints where they are DWPose's.\n\nThe classifiers are masked "
        "by it in training.",
        group="data",
        kinds=("tensorflow", "parquet"),
        code="paha_core/pose/face.py",
        output="manifest",
        paper="B.3.3",
        needs=("clips", "keypoints"),
        per_dataset=True,
    ),
    "par_masks": Stage(
        make_par_masks,
        "Awareness Areas and loss weights",
        "How much each latent cell counts in the loss: hands and face more than body, body more "
        "than the rest (equations 2 and 3 of the paper).",
        group="data",
        kinds=("numpy", "parquet"),
        code="paha_core/par",
        output="manifest",
        paper="equations 2, 3",
        needs=("keypoints",),
        per_dataset=True,
    ),
    "latent_codec": Stage(
        train_latent_codec,
        "a small AutoencoderKL trained on the corpus, where no pretrained codec is given",
        "A small autoencoder trained on the corpus, unless the preset names pretrained weights.\n\n"
        "Killed in the middle, its training resumes from the last checkpoint.",
        group="networks",
        kinds=("pytorch", "diffusers"),
        code="paha_core/training/tasks/codec.py",
        output="network",
        replaced=lambda preset: (
            preset.codec.pretrained and f"pretrained: {preset.codec.pretrained}"
        ),
        needs=("par_masks",),
        on_device=True,
    ),
    "training_shards": Stage(
        make_training_shards,
        "latents, masks, audio features as WebDataset shards",
        "Every clip as latents, audio features, reference embeddings and masks, in WebDataset "
        "shards.\n\nOnly shards whose clips changed are written again.",
        group="data",
        kinds=("pytorch", "tar"),
        code="paha_core/shards",
        output="manifest",
        needs=("face_boxes", "latent_codec", "par_masks"),
        on_device=True,
    ),
    "univdm": Stage(
        train_univdm,
        "the 3D U-Net, trained with the PAR loss",
        "UniVDM: audio and one reference frame in, a video of the speaker out; trained with the "
        "PAR loss.\n\nKilled in the middle, its training resumes from the last checkpoint and ends "
        "with the same losses.",
        group="networks",
        kinds=("pytorch", "diffusers"),
        code="paha_core/models/univdm.py",
        output="network",
        paper="4.1.1, 4.1.2",
        needs=("training_shards",),
        on_device=True,
    ),
    "negative_samples": Stage(
        make_negatives,
        "self-distilled videos of the 60 % checkpoint",
        "Clips by UniVDM at 60 % of its training, one for each real one, from random references "
        "and audio: the classifiers' label 0.",
        group="data",
        kinds=("pytorch", "tar"),
        code="paha_core/inference/negatives.py",
        output="manifest",
        paper="4.1.3, B.3.2",
        needs=("training_shards", "univdm"),
        on_device=True,
    ),
    **{
        classifier_name(part): Stage(
            train_classifier,
            f"classifies real and generated by {region} and the audio; its audio-swap test",
            f"Classifies real and generated by {region} and the audio. Its gradient guides "
            f"{guided}.\n\nTraining ends with the audio-swap test: another clip's voice, or "
            "another moment's, must lower the score.",
            group="networks",
            kinds=("pytorch",),
            code="paha_core/models/sync_classifier.py",
            output="network",
            paper="4.1.3, equations 4-7",
            needs=("negative_samples", "training_shards", "univdm"),
            arguments=(part,),
            on_device=True,
        )
        for part, (region, guided) in REGIONS.items()
    },
    "generated_clips": Stage(
        generate_clips,
        "held-out voices: unguided, Sequential and Differential Guidance",
        "Videos of held-out voices in every guidance mode of the preset, exactly as long as their "
        "audio.",
        group="results",
        kinds=("pytorch", "ffmpeg"),
        code="paha_core/inference/held_out.py",
        output="modes",
        paper="4.2, equations 8-12",
        needs=("clips", "univdm", *CLASSIFIERS),
        on_device=True,
    ),
    "pose_autoencoder": Stage(
        train_pose_autoencoder,
        "the feature space of FGD and Diversity, trained on the corpus",
        "A convolutional autoencoder of gesture windows, trained on the corpus' real poses.",
        group="networks",
        kinds=("pytorch",),
        code="paha_core/training/tasks/pose_autoencoder.py",
        output="network",
        paper="B.5",
        needs=("clips", "keypoints"),
        on_device=True,
    ),
    "video_encoder": Stage(
        train_video_encoder,
        "the feature space of FVD's stand-in, trained on the corpus",
        "A small 3D network that classifies which change was made to a window of real video.",
        group="networks",
        kinds=("pytorch",),
        code="paha_core/training/tasks/video_encoder.py",
        output="network",
        paper="B.5",
        needs=("clips",),
        on_device=True,
    ),
    "benchmark": Stage(
        run_benchmark,
        "FGD, Diversity, BAS, lip correlation, time: every metric of every system",
        "Every metric of every system under one protocol, with confidence intervals.\n\nA number "
        "that can't be computed has its reason instead.",
        group="results",
        kinds=("python", "parquet"),
        code="paha_core/benchmark",
        output="benchmark/results.json",
        paper="5, B.5",
        needs=("generated_clips", "keypoints", *FEATURE_NETWORKS),
        on_device=True,
    ),
    "report": Stage(
        build_report,
        "one self-contained page of it all",
        "One self-contained page: tables, curves, frame strips, playable videos, provenance.\n\n"
        "It shows those of the paper's tables that have been run.",
        group="results",
        kinds=("html",),
        code="paha_core/benchmark/report",
        output="report/index.html",
        needs=("benchmark",),
        shows=TABLE_NAMES,
        code_version="2",
    ),
}

# Run on demand; not part of a whole run.
OPTIONAL: dict[str, Stage] = {
    UNIVDM_FAST: Stage(
        distill_univdm,
        "a student of UniVDM that takes few steps, by progressive distillation",
        "A student of UniVDM whose one sampling step ends where several of its teacher's do; made "
        "on demand, and used where generation.fast is set.\n\nKilled in the middle, its training "
        "resumes from the last checkpoint.",
        group="networks",
        kinds=("pytorch", "diffusers"),
        code="paha_core/training/tasks/fast.py",
        output="network",
        needs=("training_shards", "univdm"),
        on_device=True,
    ),
}
TABLES: dict[str, Stage] = {
    name: Stage(
        run_table,
        f"table {number} of the paper on the networks there are",
        f"Table {number} of the paper: its rows, and which of its claims hold.",
        group="tables",
        kinds=("pytorch", "parquet"),
        code="paha_core/benchmark/tables",
        output=f"report/tables/{name}.md",
        paper=f"table {number}",
        needs=("clips", "univdm", *CLASSIFIERS, *FEATURE_NETWORKS),
        arguments=(number,),
        on_device=True,
        code_version="2",
    )
    for name, number in zip(TABLE_NAMES, RUNNABLE, strict=True)
}

ALL = STAGES | OPTIONAL | TABLES


def stage_of(name: str) -> Stage:
    """Raises `StageError` for an unknown name."""
    if name not in ALL:
        raise StageError(f"no stage {name!r}: there are {', '.join(ALL)}")
    return ALL[name]


def stages_up_to(name: str) -> list[str]:
    """That stage and all whose results it needs, in the order of the pipeline.

    Raises `StageError` for an unknown name.
    """
    needed = {name}
    for stage in (name, *reversed(STAGES)):
        if stage in needed:
            needed.update(stage_of(stage).needs)
    return [stage for stage in ALL if stage in needed]
