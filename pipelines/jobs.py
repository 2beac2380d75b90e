"""The jobs: the same graph with different presets, or a part of it."""

import socket
from typing import Any

import dagster as dg

from assets.adapt_speaker import adapt_speaker
from assets.generate_video import generate_video
from assets.inputs import INPUT_KEYS
from assets.stages import key_of
from paha_core.stages import OPTIONAL
from paha_core.stages import TABLES as TABLE_STAGES
from paha_core.trained import FEATURE_NETWORKS, UNIVDM_FAST
from pipelines.partitions import SMOKE, whole_range
from pipelines.resources import PRESET_TAG

# For the reaper: the machine on which a run's process id is valid.
HOST_TAG = "paha/host"
TAGS = {HOST_TAG: socket.gethostname()}


# A step is forked from a process that has imported these, which takes a tenth of starting one.
# What the networks are built of takes seconds to import, and starts no threads that a fork loses.
PRELOADED = ["dagster", "pipelines.definitions", "paha_core.models.univdm", "mediapipe"]
EXECUTOR = dg.multiprocess_executor.configured(
    {
        "max_concurrent": 2,
        "start_method": {"forkserver": {"preload_modules": PRELOADED}},
    }
)


TABLES = dg.AssetSelection.groups("tables")
REPORT = dg.AssetSelection.assets("report")
ON_DEMAND = TABLES | dg.AssetSelection.assets(*OPTIONAL)
STAGES = dg.AssetSelection.all() - ON_DEMAND  # they take hours: by hand, or by a job each

full_rebuild = dg.define_asset_job(
    "full_rebuild",
    selection=STAGES,
    description="From raw footage to the report, with the preset of PAHA_PRESET (or demo).",
    tags=TAGS | whole_range(),
    executor_def=EXECUTOR,
)

smoke_rebuild = dg.define_asset_job(
    "smoke_rebuild",
    selection=STAGES,
    description="The same graph in seconds, with the smoke preset and a store of its own.",
    tags=TAGS | whole_range(SMOKE) | {PRESET_TAG: SMOKE},
    executor_def=EXECUTOR,
)

reevaluate = dg.define_asset_job(
    "reevaluate",
    selection=dg.AssetSelection.assets("generated_clips", *FEATURE_NETWORKS, "benchmark", "report"),
    description="Generated clips, benchmark and report again, for the networks that are there.",
    tags=TAGS,
    executor_def=EXECUTOR,
)

table_jobs = [
    dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(key_of(name)) | REPORT,
        description=f"Table {name.removeprefix('table')} of the paper, on the networks there are, "
        "and the report again.",
        tags=TAGS,
        executor_def=EXECUTOR,
    )
    for name in TABLE_STAGES
]

all_tables = dg.define_asset_job(
    "all_tables",
    selection=TABLES | REPORT,
    description="Every table of the paper that can be run, and the report again; tables share what "
    "they generate.",
    tags=TAGS,
    executor_def=EXECUTOR,
)

distill = dg.define_asset_job(
    "distill",
    selection=dg.AssetSelection.assets(UNIVDM_FAST),
    description="A student of the run's UniVDM that takes few steps.",
    tags=TAGS,
    executor_def=EXECUTOR,
)

ingest_footage = dg.define_asset_job(
    "ingest_footage",
    selection=dg.AssetSelection.assets("clips", "keypoints", "face_boxes", "par_masks"),
    description="New footage to clips, keypoints, face boxes and masks; finished clips are kept.",
    tags=TAGS | whole_range(),
    executor_def=EXECUTOR,
)

observe_inputs = dg.define_asset_job(
    "observe_inputs",
    selection=dg.AssetSelection.assets(*INPUT_KEYS),
    description="Records the versions of footage and pretrained weights; results of older ones "
    "then show as stale.",
    tags=TAGS,
)


@dg.job(
    description="A picture and a voice of your own to a video, by the networks of a run.",
    tags=TAGS,
    executor_def=EXECUTOR,
)
def generate() -> None:
    generate_video()


@dg.job(
    description="Minutes of one person's footage to an adapter of a run's UniVDM.",
    tags=TAGS,
    executor_def=EXECUTOR,
)
def adapt() -> None:
    adapt_speaker()


ALL: list[Any] = [  # Dagster has no public name for a job of assets
    full_rebuild,
    smoke_rebuild,
    ingest_footage,
    reevaluate,
    *table_jobs,
    all_tables,
    distill,
    observe_inputs,
    generate,
    adapt,
]
