"""One video of a user's own picture and voice, as an op: it belongs to no stage of the pipeline."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from paha_core.stages import Workspace, prepare_torch


class GenerateConfig(dg.Config):
    """What to make; the networks are those of the workspace's run. Null, or `preset`: as its
    preset says."""

    image: str = Field(description="picture of one person, face to the camera")
    audio: str = Field(description="the voice: any audio or video file")
    out: str = Field(description="the mp4 to write; a json beside it tells what made it")
    dataset: str = Field("any", description="use this corpus' audio encoder (`audio.by_dataset`)")
    mode: Literal["unguided", "sequential", "differential"] = "sequential"
    seed: int = 0
    steps: int | None = Field(None, ge=1, description="DDIM steps")
    rate: float | None = Field(None, ge=0, le=1, description="share of the steps that are guided")
    lambda_face: float | None = Field(None, ge=0)
    lambda_non_face: float | None = Field(None, ge=0)
    lambda_diff: float | None = Field(None, ge=0)
    form: Literal["preset", "residual", "residual_printed_masks", "printed"] = Field(
        "preset", description="of equation 12"
    )
    max_seconds: float | None = Field(None, gt=0, description="cut the voice there")
    letterbox: bool = Field(False, description="keep the whole picture instead of cropping it")
    size: int | None = Field(None, description="side of the video in pixels")
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["preset", "auto", "cpu", "cuda"] = "preset"
    force: bool = Field(False, description="guide also by classifiers that failed their gate")


@dg.op(
    out=dg.Out(dg.Nothing),
    pool="gpu",
    description="A portrait and a voice to a video and its sidecar.",
)
def generate_video(
    context: dg.OpExecutionContext,
    config: GenerateConfig,
    workspace: dg.ResourceParam[Workspace],
) -> None:
    from paha_core.errors import EXPECTED
    from paha_core.inference.pipeline import PahaPipeline, Settings
    from paha_core.inference.video_file import Request, make_video

    preset = workspace.preset
    if config.device != "preset":
        preset = preset.model_copy(update={"device": config.device})
    if config.dataset != "any":
        preset = preset.model_copy(update={"audio": preset.audio.for_dataset(config.dataset)})
    guidance = preset.generation.guidance.changed(
        rate=config.rate,
        face=config.lambda_face,
        non_face=config.lambda_non_face,
        differential=config.lambda_diff,
        form=None if config.form == "preset" else config.form,
    )
    same = {"mode", "seed", "steps", "max_seconds", "letterbox", "precision", "force"}
    how = Settings(guidance=guidance, **config.model_dump(include=same))
    request = Request(Path(config.image), Path(config.audio), Path(config.out), how, config.size)
    try:
        request.check()
        pipeline = PahaPipeline.from_store(workspace.store, preset, prepare_torch(preset))
        about = make_video(
            pipeline, request, lambda k, total: context.log.info(f"segment {k} of {total}")
        )
    except EXPECTED as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log_event(
        dg.AssetMaterialization(
            "generated_video",
            description=f"{config.mode} guidance, seed {config.seed}",
            metadata={
                "video": dg.MetadataValue.path(str(request.out.absolute())),
                "sidecar": dg.MetadataValue.path(str(request.sidecar.absolute())),
                "frames": about["frames"],
                "seconds to make it": about["seconds"]["total"],
                "gates failed": ", ".join(about["gates_failed"]) or "none",
                "sha256": about["video_sha256"],
            },
        )
    )
