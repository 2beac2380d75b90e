"""The single list of what exists."""

import dagster as dg

from assets import (
    benchmark,
    checks,
    classifiers,
    clips,
    face_boxes,
    generated_clips,
    keypoints,
    latent_codec,
    negative_samples,
    par_masks,
    pose_autoencoder,
    programmes,
    report,
    tables,
    training_shards,
    univdm,
    video_encoder,
)
from pipelines import jobs, schedules, sensors
from pipelines.resources import PahaResource

STAGES = [
    programmes,
    clips,
    keypoints,
    face_boxes,
    par_masks,
    latent_codec,
    training_shards,
    univdm,
    negative_samples,
    classifiers,
    generated_clips,
    pose_autoencoder,
    video_encoder,
    benchmark,
    report,
]

defs = dg.Definitions(
    assets=[*dg.load_assets_from_modules(STAGES), *tables.ALL],
    asset_checks=checks.ALL,
    jobs=jobs.ALL,
    schedules=schedules.ALL,
    sensors=sensors.ALL,
    resources={"workspace": PahaResource(preset="", store="")},
)
