"""`paha generate`: a portrait and a voice to a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.progress import Progress
from paha_core.step_report import StepError
from paha_core.steps import Workspace, prepare_torch


def generate(
    image: Annotated[Path, typer.Option(help="Picture of one person, face to the camera.")],
    audio: Annotated[Path, typer.Option(help="The voice: any audio or video file.")],
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
    mode: Annotated[
        Literal["unguided", "sequential", "differential"], typer.Option(help="How to guide.")
    ] = "sequential",
    seed: int = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="DDIM steps [the preset's].")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Cut the voice there.")] = None,
) -> None:
    """Make the person in a picture speak. A json beside the video tells what made it.

    Example:

        paha generate --image me.jpg --audio hello.wav --out hello.mp4
    """
    with one_sentence():
        for path in (image, audio):
            if not path.is_file():
                raise StepError(f"no file {path}")
        if out.suffix != ".mp4":
            raise StepError(f"{out} is no .mp4")
        workspace = Workspace(preset, store)
        device = prepare_torch(workspace.preset)
        from paha_core.inference.pipeline import PahaPipeline, describe, resize
        from paha_core.media.video import write_video

        pipeline = PahaPipeline.from_store(workspace.store, workspace.preset, device)
        with Progress(0, "generate", "segment") as progress:
            made, wave = pipeline(
                image,
                audio,
                mode=mode,
                seed=seed,
                steps=steps,
                max_seconds=max_seconds,
                on_segment=progress.reach,
            )
        frames = resize(made.frames[0], workspace.preset.corpora.clip.size)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_video(out, frames, wave=wave)
        about = describe(pipeline, made) | {"mode": mode, "seed": seed, "steps": steps}
        about |= {"image": image.name, "audio": audio.name, "max_seconds": max_seconds}
        out.with_suffix(".json").write_text(json.dumps(about, indent=2))
        typer.echo(f"{out}: {len(frames) / 25:.2f} s, made in {made.seconds:.1f} s")
