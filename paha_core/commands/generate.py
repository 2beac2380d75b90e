"""`paha generate` and `paha export`: a portrait and a voice to a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.errors import StepError
from paha_core.progress import Progress
from paha_core.steps import Workspace, prepare_torch

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline, Settings
    from paha_core.inference.video_file import Replay, Request

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="A folder made by `paha export`, instead of preset and store."),
]
Device = Literal["auto", "cpu", "cuda"]


def generate(
    image: Annotated[
        Path | None, typer.Option(help="Picture of one person, face to the camera.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="The voice: any audio or video file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The mp4 to write.")] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: FolderOption = None,
    mode: Annotated[
        Literal["unguided", "sequential", "differential"], typer.Option(help="How to guide.")
    ] = "sequential",
    seed: int = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="DDIM steps [the preset's].")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the steps that are guided.")
    ] = None,
    lambda_face: Annotated[float | None, typer.Option(min=0, help="Strength on the face.")] = None,
    lambda_non_face: Annotated[float | None, typer.Option(min=0, help="And elsewhere.")] = None,
    lambda_diff: Annotated[
        float | None, typer.Option(min=0, help="Of differential guidance.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=64, max=4096, help="Side of the video in pixels [the clips'].")
    ] = None,
    letterbox: Annotated[
        bool, typer.Option("--letterbox", help="Keep the whole picture instead of cropping it.")
    ] = False,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.08, help="Cut the voice there.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of the networks' sums.")
    ] = "fp32",
    device: Annotated[Device | None, typer.Option(help="Where to run [the preset's].")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Guide also by classifiers that failed their gate.")
    ] = False,
    batch: Annotated[
        Path | None, typer.Option(help="A csv with columns image, audio, out: many videos.")
    ] = None,
    sidecar: Annotated[
        Path | None, typer.Option("--from", help="A video's json: make the same video again.")
    ] = None,
) -> None:
    """Make the person in a picture speak. A json beside the video tells everything that made it.

    Examples:

        paha generate --image me.jpg --audio hello.wav --out hello.mp4

        paha generate --from hello.json --out again.mp4         the same, bit for bit

        paha generate --batch list.csv --mode unguided          resumes where it stopped
    """
    with one_sentence():
        if sidecar is not None:
            _again(sidecar, out, image, audio, Workspace(preset, store), folder)
            return
        strengths = {
            "rate": rate,
            "face": lambda_face,
            "non_face": lambda_non_face,
            "differential": lambda_diff,
        }
        how = {
            "mode": mode,
            "seed": seed,
            "steps": steps,
            "max_seconds": max_seconds,
            "letterbox": letterbox,
            "precision": precision,
            "force": force,
        }
        if batch is None and (image is None or audio is None or out is None):
            raise StepError("give --image, --audio and --out, or --batch, or --from")
        source = _Source(Workspace(preset, store), folder, device)
        settings = source.settings(how, strengths)
        if batch is not None:
            _batch(batch, source, settings, size)
            return
        from paha_core.inference.video_file import Request

        assert image is not None
        assert audio is not None
        assert out is not None
        request = Request(image, audio, out, settings, size)
        request.check()
        _make(source.open(), request)


def export(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """Everything that `paha generate` needs of a run, as one folder to copy or publish.

    Example:

        paha export --out my-paha && paha generate --folder my-paha --image … --audio … --out …

    In Python: `PahaPipeline.from_pretrained("my-paha")("me.jpg", "hello.wav")`.
    """
    with one_sentence():
        pipeline = _Source(Workspace(preset, store), None, "cpu").open()
        pipeline.save_pretrained(out)
        typer.echo(f"{out}: {', '.join(pipeline.networks)}")


class _Source:
    """Where the networks come from: a run's store, or an exported folder."""

    def __init__(self, workspace: Workspace, folder: Path | None, device: Device | None) -> None:
        from paha_core.config import load_preset

        self.workspace, self.folder = workspace, folder
        if folder is not None and not (folder / "preset.yaml").is_file():
            raise StepError(f"{folder} holds no pipeline: make one with `paha export`")
        self.preset = load_preset(folder / "preset.yaml") if folder else workspace.preset
        if device is not None:
            self.preset = self.preset.model_copy(update={"device": device})

    def settings(self, how: dict[str, Any], strengths: dict[str, float | None]) -> Settings:
        from paha_core.inference.pipeline import Settings

        changed = {name: value for name, value in strengths.items() if value is not None}
        ours = self.preset.generation.guidance
        return Settings(**how, guidance=ours.model_copy(update=changed) if changed else None)

    def open(self, replay: Replay | None = None) -> PahaPipeline:
        """The pipeline; with `replay` under its preset, on its device, with its threads."""
        from dataclasses import replace

        import torch

        from paha_core.inference.pipeline import PahaPipeline

        device = prepare_torch(self.preset)
        if replay is not None:
            device = replay.device
            torch.set_num_threads(int(replay.about["machine"]["threads"]))
        if device == "cuda" and not torch.cuda.is_available():
            raise StepError("there is no CUDA device here: use --device cpu")
        if self.folder is not None:
            pipeline = PahaPipeline.from_pretrained(self.folder, device)
        else:
            preset = replay.preset if replay else self.preset
            pipeline = PahaPipeline.from_store(self.workspace.store, preset, device)
        return replace(pipeline, preset=replay.preset) if replay else pipeline


def _make(pipeline: PahaPipeline, request: Request) -> dict[str, Any]:
    from paha_core.inference.video_file import make_video

    with Progress(0, "generate", "segment", every=5.0) as progress:
        about = make_video(pipeline, request, progress.reach)
    for name in about["gates_failed"]:
        typer.echo(f"note: {name} did not pass its audio-swap gate", err=True)
    seconds = about["seconds"]["total"]
    typer.echo(f"{request.out}: {about['frames'] / 25:.2f} s, made in {seconds:.1f} s")
    return about


def _again(
    sidecar: Path,
    out: Path | None,
    image: Path | None,
    audio: Path | None,
    workspace: Workspace,
    folder: Path | None,
) -> None:
    from paha_core.inference.video_file import read_sidecar

    replay = read_sidecar(sidecar, out, image, audio)
    replay.request.check()
    pipeline = _Source(workspace, folder, None).open(replay)
    replay.check_networks(pipeline)
    about = _make(pipeline, replay.request)
    same = about["video_sha256"] == replay.about["video_sha256"]
    typer.echo("identical to the first" if same else "not identical: another machine or version")


def _batch(path: Path, source: _Source, settings: Settings, size: int | None) -> None:
    from paha_core.inference.batch import make_batch, read_batch

    requests = read_batch(path, settings, size)
    with Progress(len(requests), "generate", "video") as progress:

        def on_video(request: Request, outcome: str) -> None:
            typer.echo(f"{request.out}: {outcome}")
            progress.update()

        result = make_batch(source.open(), requests, on_video)
    counts = f"{len(result.made)} made, {len(result.reused)} there already"
    typer.echo(f"{counts}, {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(1)
