"""`paha generate`: a portrait and a voice to a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paha_core.commands.opening import (
    AdapterOption,
    DatasetOption,
    Device,
    FastOption,
    FolderOption,
    OffloadLayersOption,
    OffloadOption,
    WeightsOption,
    chosen_folder,
    chosen_preset,
    open_pipeline,
    with_memory_options,
)
from paha_core.commands.shared import (
    PresetOption,
    StoreOption,
    given_options,
    one_sentence,
    refuse_options,
)
from paha_core.commands.streams import PIPE, open_sink, stream_alone, stream_spoken
from paha_core.config import Form, Language, Mode, Precision, Solver
from paha_core.engine.progress import Progress
from paha_core.errors import StageError
from paha_core.media import FPS
from paha_core.stages import Workspace

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline, Settings
    from paha_core.inference.video_file import Request


def generate(
    context: typer.Context,
    image: Annotated[
        Path | None,
        typer.Option(help="One person, face to the camera; transparent parts are white."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            help="The voice: any audio or video file; - is 16 kHz PCM from a pipe, as it is spoken."
        ),
    ] = None,
    text: Annotated[
        str, typer.Option(help="Instead of --audio: what to say, in a synthetic voice.")
    ] = "",
    language: Annotated[Language, typer.Option(help="Language of --text.")] = "en",
    out: Annotated[
        Path | None, typer.Option(help="The mp4 to write; - streams to standard output alone.")
    ] = None,
    stream: Annotated[
        Path | None,
        typer.Option(help="Beside --out: a stream to watch while it is made, a new file or -."),
    ] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: FolderOption = None,
    dataset: DatasetOption = None,
    adapter: AdapterOption = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="Guidance by the classifiers (default: sequential, or unguided with a note where "
            "these networks can't guide)."
        ),
    ] = None,
    seed: int = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Sampling steps (default: the preset's).")
    ] = None,
    solver: Annotated[
        Solver | None,
        typer.Option(help="Goes from one noise level to the next (default: the preset's)."),
    ] = None,
    fast: FastOption = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the steps that are guided."),
    ] = None,
    lambda_face: Annotated[
        float | None, typer.Option(min=0, help="Strength of guidance on the face.")
    ] = None,
    lambda_non_face: Annotated[
        float | None, typer.Option(min=0, help="Strength of guidance outside the face.")
    ] = None,
    lambda_diff: Annotated[
        float | None, typer.Option(min=0, help="Strength of differential guidance.")
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(help="Form of equation 12 (default: the preset's)."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=64, max=4096, help="Side of the video in pixels (default: the clips')."),
    ] = None,
    letterbox: Annotated[
        bool, typer.Option("--letterbox", help="Keep the whole picture instead of cropping it.")
    ] = False,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.08, help="Cut the voice after so many seconds.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Precision of the networks (default: the preset's); tf32 needs a GPU."),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Device (default: the preset's).")] = None,
    weights: WeightsOption = None,
    offload: OffloadOption = False,
    offload_layers: OffloadLayersOption = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Guide also by classifiers that failed their audio-swap gate."
        ),
    ] = False,
    no_mark: Annotated[
        bool,
        typer.Option(
            "--no-mark",
            help="Write no content credentials and no metadata; the sidecar records this.",
        ),
    ] = False,
    batch: Annotated[
        Path | None, typer.Option(help="A csv with columns image, audio, out, for many videos.")
    ] = None,
    sidecar: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A video's json: generate its frames and sound again, as --out."
        ),
    ] = None,
) -> None:
    """Make the person in a picture speak. A json beside the video holds all that it was made from.

    Examples:

        paha generate --image me.jpg --audio hello.wav --out hello.mp4

        paha generate --image me.jpg --text "Hello, world." --out hello.mp4

        paha generate --adapter me --image me.jpg --audio hello.wav --out hello.mp4

        paha generate --fast --preset demo --image me.jpg --audio hello.wav --out hello.mp4

        paha generate --from hello.json --out again.mp4         the same frames and sound

        paha generate --batch list.csv --mode unguided          a second run continues

        paha generate --image me.jpg --audio hello.wav --out - | ffplay -      watch it being made

        arecord -f S16_LE -r 16000 | paha generate --image me.jpg --audio - --out - | ffplay -
    """
    from paha_core.inference.pipeline import Settings
    from paha_core.inference.video_file import Request

    with one_sentence():
        given = given_options(context)
        if folder is not None:
            own = {"preset", "store", "dataset"}
            refuse_options(given, own, "--folder holds its own preset and networks")
        folder = chosen_folder(context, folder)
        if sidecar is not None:
            others = given.keys() - {
                "sidecar",
                "out",
                "image",
                "audio",
                "store",
                "folder",
                "no_mark",
            }
            refuse_options(given, others, "--from repeats a video with its own settings")
            if out is None:
                raise StageError("give --out, the path to write the video of --from to")
            _again(sidecar, out, image, audio, store, folder, no_mark)
            return
        if batch is not None:
            refuse_options(
                given,
                {"image", "audio", "text", "out", "stream"},
                "--batch takes them from its csv",
            )
        elif image is None or out is None or not (audio or text):
            raise StageError("give --image, --audio (or --text) and --out, or --batch, or --from")
        elif PIPE in (audio, out):
            refuse_options(given, {"stream"}, "--out - is a stream already")
            if out != PIPE:
                raise StageError("--audio - is streamed as it is spoken: give --out - as well")
            refuse_options(given, {"text"}, "--out - leaves no file for the synthetic voice")
        elif text:
            refuse_options(given, {"audio"}, "--text is spoken by a synthetic voice")
            audio = _spoken(text, language, out)
        workspace = Workspace(preset, store)
        used = chosen_preset(workspace, folder, device, dataset, fast)
        used = with_memory_options(used, offload, offload_layers, weights)
        guidance = used.generation.guidance.changed(
            rate=rate,
            lambda_face=lambda_face,
            lambda_non_face=lambda_non_face,
            lambda_diff=lambda_diff,
            form=form,
        )
        settings = Settings(
            guidance=guidance,
            mode=mode or "sequential",
            seed=seed,
            steps=steps,
            max_seconds=max_seconds,
            letterbox=letterbox,
            precision=precision,
            force=force,
            solver=solver,
        )

        def opened() -> tuple[PahaPipeline, Settings]:
            pipeline = open_pipeline(used, folder, lambda: workspace.store, adapter)
            return pipeline, settings if mode else _guided_if_possible(pipeline, settings)

        if batch is not None:
            _batch(batch, settings, size, not no_mark, opened)
            return
        assert image is not None
        assert audio is not None
        assert out is not None
        request = Request(image, audio, out, settings, size, not no_mark)
        if audio == PIPE:
            stream_spoken(opened, image, size, not no_mark)
        elif out == PIPE:
            stream_alone(opened, request)
        else:
            request.check()
            pipeline, settings = opened()
            _make(pipeline, replace(request, settings=settings), stream)


def _guided_if_possible(pipeline: PahaPipeline, settings: Settings) -> Settings:
    """`settings`, or unguided ones where the networks can't guide so."""
    from paha_core.inference.segment_guidance import GateError

    try:
        pipeline.check(settings)
    except (FileNotFoundError, GateError) as error:
        typer.echo(f"note: unguided, because {error}", err=True)
        return replace(settings, mode="unguided")
    return settings


def _spoken(text: str, language: Language, out: Path) -> Path:
    """The wav of `text`, beside the video that is to be made of it."""
    from paha_core.corpora.studio.say import write_speech

    wav = out.with_suffix(".wav")
    if wav.exists() and not out.with_suffix(".json").exists():
        raise StageError(f"{wav} exists and was not made by paha: choose another name for --out")
    seconds = write_speech(wav, text, language)
    typer.echo(f"{wav}: {seconds:.1f} s", err=True)
    return wav


def _make(pipeline: PahaPipeline, request: Request, stream: Path | None = None) -> dict[str, Any]:
    from paha_core.inference.portraits import unfamiliar
    from paha_core.inference.stream import StreamedCopy
    from paha_core.inference.video_file import make_video

    if note := unfamiliar(pipeline, request.image, request.settings.letterbox):
        typer.echo(f"note: {note}", err=True)
    with Progress(0, "generate", "segment", every=5.0) as progress:
        if stream is None:
            sidecar = make_video(pipeline, request, progress.reach)
        else:
            with open_sink(stream) as sink:
                copy = StreamedCopy(pipeline, request, sink)
                with copy.video:
                    sidecar = make_video(pipeline, request, progress.reach, copy.add)
    for name in sidecar["gates_failed"]:
        typer.echo(f"note: {name} did not pass its audio-swap gate", err=True)
    seconds = f"{sidecar['frames'] / FPS:.2f} s, generated in {sidecar['seconds']['total']:.1f} s"
    typer.echo(f"{request.out}: {seconds}", err=stream == PIPE)
    return sidecar


def _again(
    sidecar: Path,
    out: Path,
    image: Path | None,
    audio: Path | None,
    store: str,
    folder: Path | None,
    no_mark: bool,
) -> None:
    from paha_core.inference.video_file import read_sidecar
    from paha_core.store import Store

    replay = read_sidecar(sidecar, out, image, audio)
    replay.request.check()
    if not store and folder is None:
        store, folder = replay.store, replay.folder
    # On the same device, with as many threads.
    same_machine = {"device": replay.device, "threads": replay.threads}
    preset = replay.preset.model_copy(update=same_machine)
    pipeline = open_pipeline(preset, folder, lambda: Store(store or f"runs/{preset.name}"))
    pipeline = pipeline.with_preset(replay.preset)
    replay.check_networks(pipeline)
    replay.load_adapters(pipeline)
    mark = replay.request.mark and not no_mark
    repeated = _make(pipeline, replace(replay.request, mark=mark))
    same = repeated["video_sha256"] == replay.sidecar["video_sha256"]
    typer.echo("identical to the first" if same else "not identical: another machine or version")


def _batch(
    path: Path,
    settings: Settings,
    size: int | None,
    mark: bool,
    opened: Callable[[], tuple[PahaPipeline, Settings]],
) -> None:
    from paha_core.inference.batch import make_batch, read_batch

    requests = read_batch(path, settings, size, mark)
    pipeline, fitted = opened()
    requests = [replace(request, settings=fitted) for request in requests]
    with Progress(len(requests), "generate", "video", every=5.0) as progress:

        def on_video(request: Request, outcome: str) -> None:
            typer.echo(f"{request.out}: {outcome}")
            progress.update()

        def on_segment(done: int, total: int) -> None:
            progress.update(0, f"segment {done} of {total} of the next video")

        result = make_batch(pipeline, requests, on_video, on_segment)
    counts = f"{len(result.made)} generated, {len(result.reused)} up to date"
    typer.echo(f"{counts}, {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(1)
