"""A video of a user's own picture and voice, as an op outside the pipeline's stages."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from paha_core.config import Form, Mode, Precision, Solver
from paha_core.stages import Workspace, prepare_torch


class GenerateConfig(dg.Config):
    """What to generate with the networks of the workspace's run. Null or `preset` takes the
    preset's value."""

    image: str = Field(description="picture of one person, face to the camera")
    audio: str = Field(description="the voice: any audio or video file")
    out: str = Field(description="the mp4 to write; a json beside it holds what made it")
    dataset: str = Field("any", description="use this corpus' audio encoder (`audio.by_dataset`)")
    mode: Mode = "sequential"
    seed: int = 0
    steps: int | None = Field(None, ge=1, description="sampling steps")
    solver: Literal["preset", Solver] = "preset"
    rate: float | None = Field(None, ge=0, le=1, description="share of the steps that are guided")
    lambda_face: float | None = Field(None, ge=0)
    lambda_non_face: float | None = Field(None, ge=0)
    lambda_diff: float | None = Field(None, ge=0)
    form: Literal["preset", Form] = Field("preset", description="form of equation 12")
    max_seconds: float | None = Field(None, gt=0, description="cut the voice after so many seconds")
    letterbox: bool = Field(False, description="keep the whole picture instead of cropping it")
    size: int | None = Field(None, description="side of the video in pixels")
    precision: Literal["preset", Precision] = "preset"
    device: Literal["preset", "auto", "cpu", "cuda"] = "preset"
    mark: bool = Field(True, description="sign the mp4 as generated (C2PA)")
    force: bool = Field(
        False, description="guide also by classifiers that failed their audio-swap gate"
    )


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

    preset = workspace.preset.changed(
        None if config.device == "preset" else config.device,
        None if config.dataset == "any" else config.dataset,
    )
    guidance = preset.generation.guidance.changed(
        rate=config.rate,
        lambda_face=config.lambda_face,
        lambda_non_face=config.lambda_non_face,
        lambda_diff=config.lambda_diff,
        form=None if config.form == "preset" else config.form,
    )
    settings = Settings(
        mode=config.mode,
        seed=config.seed,
        steps=config.steps,
        max_seconds=config.max_seconds,
        letterbox=config.letterbox,
        guidance=guidance,
        precision=None if config.precision == "preset" else config.precision,
        force=config.force,
        solver=None if config.solver == "preset" else config.solver,
    )
    request = Request(
        Path(config.image), Path(config.audio), Path(config.out), settings, config.size, config.mark
    )
    try:
        request.check()
        pipeline = PahaPipeline.from_store(workspace.store, preset, prepare_torch(preset))
        sidecar = make_video(
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
                "frames": sidecar["frames"],
                "seconds to generate it": sidecar["seconds"]["total"],
                "gates failed": ", ".join(sidecar["gates_failed"]) or "none",
                "sha256": sidecar["video_sha256"],
            },
        )
    )
