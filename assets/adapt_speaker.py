"""An adapter of one's own speaker, as an op outside the pipeline's stages."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from paha_core.stages import Workspace, prepare_torch


class AdaptSpeakerConfig(dg.Config):
    """Footage of one person, and the adapter to make of it. Null takes the preset's value
    (`adapt`)."""

    videos: list[str] = Field(description="files, or folders of them, that show one person")
    out: str = Field(description="folder of the adapter; its name is the speaker's")
    licence: str = Field(description="whose footage it is, and what the person shown agreed to")
    folder: str | None = Field(
        None,
        description="made by `paha export`, or `base`, the one in the package; null: the run's "
        "networks",
    )
    prior: str | None = Field(
        None,
        description="a run's store, whose training clips show people that the adapter is not to "
        "change; null: the run that is adapted, or for a folder samples of the network",
    )
    dataset: str = Field("any", description="use this corpus' audio encoder (`audio.by_dataset`)")
    steps: int | None = Field(None, ge=1, description="of the training")
    rank: int | None = Field(None, ge=1, description="of the matrices")
    device: Literal["preset", "auto", "cpu", "cuda"] = "preset"


@dg.op(
    out=dg.Out(dg.Nothing),
    pool="gpu",
    description="Minutes of one person's footage to LoRA on UniVDM: a file of a few megabytes.",
)
def adapt_speaker(
    context: dg.OpExecutionContext,
    config: AdaptSpeakerConfig,
    workspace: dg.ResourceParam[Workspace],
) -> None:
    from dataclasses import replace

    from paha_core.config import load_preset
    from paha_core.errors import EXPECTED
    from paha_core.inference.pipeline import PahaPipeline
    from paha_core.inference.saved import saved_folder
    from paha_core.stages.adapt import adapt, adapted_preset
    from paha_core.store import Store

    try:
        folder = saved_folder(config.folder) if config.folder else None
        preset = load_preset(folder / "preset.yaml") if folder else workspace.preset
        preset = preset.changed(
            None if config.device == "preset" else config.device,
            None if config.dataset == "any" else config.dataset,
        )
        device = prepare_torch(preset)
        if folder:
            pipeline = PahaPipeline.from_pretrained(folder, device)
        else:
            pipeline = PahaPipeline.from_store(workspace.store, preset, device)
        pipeline = replace(pipeline, preset=adapted_preset(preset, config.steps, config.rank))
        run_store = None if folder else workspace.store
        report = adapt(
            pipeline,
            [Path(video) for video in config.videos],
            Path(config.out),
            config.licence,
            prior_store=Store(config.prior) if config.prior else run_store,
            on_report=lambda done: context.log.info(
                f"{done.stage}: {done.kept} kept, {done.rejected} rejected {done.reasons or ''}"
            ),
            on_metrics=lambda step, metrics: context.log.info(f"step {step}: {metrics}"),
        )
    except EXPECTED as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log_event(
        dg.AssetMaterialization(
            "adapter",
            description=f"of {Path(config.out).name}",
            metadata={
                "file": dg.MetadataValue.path(report.artifacts["adapter"]),
                "fingerprint": report.data_version,
                **report.figures,
            },
        )
    )
