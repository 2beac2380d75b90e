"""`paha generate` and `paha export`: a portrait and a voice to a video."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.config import Form, Language, Mode, Precision
from paha_core.engine.progress import Progress
from paha_core.errors import StageError
from paha_core.media import FPS
from paha_core.stages import Workspace, prepare_torch

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.inference.pipeline import PahaPipeline, Settings
    from paha_core.inference.video_file import Request
    from paha_core.store import Store

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="A folder made by `paha export`, or `base`, the one inside the package: what is used "
        "when neither preset nor store is named.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(help="Use this corpus' audio encoder (default: audio.pretrained)."),
]
Device = Literal["auto", "cpu", "cuda"]


def generate(
    context: typer.Context,
    image: Annotated[
        Path | None,
        typer.Option(help="One person, face to the camera; transparent parts are white."),
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="The voice: any audio or video file.")] = None,
    text: Annotated[
        str, typer.Option(help="Instead of --audio: what to say, in a synthetic voice.")
    ] = "",
    language: Annotated[Language, typer.Option(help="Language of --text.")] = "en",
    out: Annotated[Path | None, typer.Option(help="The mp4 to write.")] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: FolderOption = None,
    dataset: DatasetOption = None,
    mode: Annotated[Mode, typer.Option(help="Guidance by the classifiers.")] = "sequential",
    seed: int = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="DDIM steps (default: the preset's).")
    ] = None,
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
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Guide also by classifiers that failed their audio-swap gate."
        ),
    ] = False,
    batch: Annotated[
        Path | None, typer.Option(help="A csv with columns image, audio, out, for many videos.")
    ] = None,
    sidecar: Annotated[
        Path | None,
        typer.Option("--from", help="A video's json: generate the same video again, as --out."),
    ] = None,
) -> None:
    """Make the person in a picture speak. A json beside the video holds all that it was made from.

    Examples:

        paha generate --image me.jpg --audio hello.wav --out hello.mp4

        paha generate --image me.jpg --text "Hello, world." --out hello.mp4

        paha generate --from hello.json --out again.mp4         the same, bit for bit

        paha generate --batch list.csv --mode unguided          a second run continues
    """
    from paha_core.inference.pipeline import Settings

    with one_sentence():
        given = _given(context)
        if folder is not None:
            own = {"preset", "store", "dataset"}
            _refuse(given, own, "--folder holds its own preset and networks")
        folder = _folder(context, folder)
        if sidecar is not None:
            others = given.keys() - {"sidecar", "out", "image", "audio", "store", "folder"}
            _refuse(given, others, "--from repeats a video with its own settings")
            if out is None:
                raise StageError("give --out, the path to write the video of --from to")
            _again(sidecar, out, image, audio, store, folder)
            return
        if batch is not None:
            _refuse(given, {"image", "audio", "text", "out"}, "--batch takes them from its csv")
        elif image is None or out is None or not (audio or text):
            raise StageError("give --image, --audio (or --text) and --out, or --batch, or --from")
        elif text:
            _refuse(given, {"audio"}, "--text is spoken by a synthetic voice")
            audio = _spoken(text, language, out)
        workspace = Workspace(preset, store)
        used = _preset(workspace, folder, device, dataset)
        guidance = used.generation.guidance.changed(
            rate=rate,
            lambda_face=lambda_face,
            lambda_non_face=lambda_non_face,
            lambda_diff=lambda_diff,
            form=form,
        )
        settings = Settings(
            guidance=guidance,
            mode=mode,
            seed=seed,
            steps=steps,
            max_seconds=max_seconds,
            letterbox=letterbox,
            precision=precision,
            force=force,
        )

        def opened() -> PahaPipeline:
            return _open(used, folder, lambda: workspace.store)

        if batch is not None:
            _batch(batch, settings, size, opened)
        else:
            _one(image, audio, out, settings, size, opened)


def _folder(context: typer.Context, folder: Path | None) -> Path | None:
    """The saved pipeline to open: the one named; or the base, where nothing else is named and this
    copy of the package carries it. None: a run's own networks."""
    from paha_core.inference.saved import base_folder, is_saved, saved_folder

    if folder is not None:
        return saved_folder(folder)
    named = ("preset", "store", "dataset", "sidecar")
    sources = [context.get_parameter_source(name) for name in named]
    if any(source is not None and source.name != "DEFAULT" for source in sources):
        return None
    return base_folder() if is_saved(base_folder()) else None


def _spoken(text: str, language: Language, out: Path) -> Path:
    """The wav of `text`, beside the video that is to be made of it."""
    from paha_core.corpora.studio.say import write_speech

    wav = out.with_suffix(".wav")
    if wav.exists() and not out.with_suffix(".json").exists():
        raise StageError(f"{wav} exists and was not made by paha: choose another name for --out")
    seconds = write_speech(wav, text, language)
    typer.echo(f"{wav}: {seconds:.1f} s")
    return wav


def _given(context: typer.Context) -> dict[str, str]:
    """The options given on the command line, by name, as they are written there."""
    written = {str(option.name): option.opts[0] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in written}
    return {
        name: written[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    }


def _refuse(given: dict[str, str], names: Collection[str], why: str) -> None:
    """Raise `StageError` where options contradict each other."""
    wrong = sorted(given[name] for name in names if name in given)
    if wrong:
        raise StageError(f"{why}: leave out {', '.join(wrong)}")


def export(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="The folder to write.")] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    dataset: DatasetOption = None,
    half: Annotated[
        bool, typer.Option("--half", help="float16 weights: half the bytes, nearly the same video.")
    ] = False,
    base: Annotated[
        bool,
        typer.Option("--base", help="Into the package, as the base, with a sidecar; implies half."),
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="With --base: a json of what was measured of it.")
    ] = None,
) -> None:
    """Save all that `paha generate` needs of a run as one folder to copy or publish.

    Example:

        paha export --out my-paha && paha generate --folder my-paha --image … --audio … --out …

    In Python: `PahaPipeline.from_pretrained("my-paha")("me.jpg", "hello.wav")`.
    """
    with one_sentence():
        given, workspace = _given(context), Workspace(preset, store)
        if base:
            _refuse(given, {"out", "half"}, "--base knows where and how")
        elif out is None:
            raise StageError("give --out, the folder to write, or --base")
        pipeline = _open(_preset(workspace, None, "cpu", dataset), None, lambda: workspace.store)
        if out is not None:
            pipeline.save_pretrained(out, half=half)
            typer.echo(f"{out}: {', '.join(pipeline.networks)}")
        else:
            _export_base(pipeline, workspace, figures)


def _export_base(pipeline: PahaPipeline, workspace: Workspace, figures: Path | None) -> None:
    import json

    from paha_core.inference.base import HELD_OUT_FRAMES, export_base
    from paha_core.inference.saved import base_folder
    from paha_core.training.tasks.codec import read_split

    preset, store = workspace.preset, workspace.store
    held_out = read_split(store, preset, "test", HELD_OUT_FRAMES).pixels
    command = ["paha", "export", "--base", "--preset", workspace.preset_name]
    measured = json.loads(figures.read_text()) if figures else {}
    sidecar = export_base(pipeline, store, base_folder(), held_out, command, measured)
    typer.echo(f"{base_folder()}: {sidecar['bytes'] / 1e6:.1f} MB, {', '.join(pipeline.networks)}")


def _preset(
    workspace: Workspace, folder: Path | None, device: Device | None, dataset: str | None
) -> Preset:
    """The run's preset or the exported folder's, with that device and that dataset's audio
    encoder."""
    from paha_core.config import load_preset

    preset = load_preset(folder / "preset.yaml") if folder else workspace.preset
    if dataset is not None:
        preset = preset.model_copy(update={"audio": preset.audio.for_dataset(dataset)})
    return preset.model_copy(update={"device": device}) if device else preset


def _open(preset: Preset, folder: Path | None, store: Callable[[], Store]) -> PahaPipeline:
    """Open the networks of the exported folder, or else of the run's store."""
    import torch

    from paha_core.inference.pipeline import PahaPipeline

    device = prepare_torch(preset)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StageError("there is no CUDA device here: use --device cpu")
    if folder is not None:
        return PahaPipeline.from_pretrained(folder, device)
    return PahaPipeline.from_store(store(), preset, device)


def _one(
    image: Path | None,
    audio: Path | None,
    out: Path | None,
    settings: Settings,
    size: int | None,
    opened: Callable[[], PahaPipeline],
) -> None:
    from paha_core.inference.video_file import Request

    assert image is not None
    assert audio is not None
    assert out is not None
    request = Request(image, audio, out, settings, size)
    request.check()
    _make(opened(), request)


def _make(pipeline: PahaPipeline, request: Request) -> dict[str, Any]:
    from paha_core.inference.portraits import unfamiliar
    from paha_core.inference.video_file import make_video

    if note := unfamiliar(pipeline, request.image, request.settings.letterbox):
        typer.echo(f"note: {note}", err=True)
    with Progress(0, "generate", "segment", every=5.0) as progress:
        sidecar = make_video(pipeline, request, progress.reach)
    for name in sidecar["gates_failed"]:
        typer.echo(f"note: {name} did not pass its audio-swap gate", err=True)
    seconds = sidecar["seconds"]["total"]
    typer.echo(f"{request.out}: {sidecar['frames'] / FPS:.2f} s, generated in {seconds:.1f} s")
    return sidecar


def _again(
    sidecar: Path,
    out: Path,
    image: Path | None,
    audio: Path | None,
    store: str,
    folder: Path | None,
) -> None:
    from dataclasses import replace

    from paha_core.inference.video_file import read_sidecar
    from paha_core.store import Store

    replay = read_sidecar(sidecar, out, image, audio)
    replay.request.check()
    if not store and folder is None:
        store, folder = replay.store, replay.folder
    # On the same device, with as many threads.
    same_machine = {"device": replay.device, "threads": replay.threads}
    preset = replay.preset.model_copy(update=same_machine)
    pipeline = _open(preset, folder, lambda: Store(store or f"runs/{preset.name}"))
    pipeline = replace(pipeline, preset=replay.preset)
    replay.check_networks(pipeline)
    repeated = _make(pipeline, replay.request)
    same = repeated["video_sha256"] == replay.sidecar["video_sha256"]
    typer.echo("identical to the first" if same else "not identical: another machine or version")


def _batch(
    path: Path, settings: Settings, size: int | None, opened: Callable[[], PahaPipeline]
) -> None:
    from paha_core.inference.batch import make_batch, read_batch

    requests = read_batch(path, settings, size)
    with Progress(len(requests), "generate", "video", every=5.0) as progress:

        def on_video(request: Request, outcome: str) -> None:
            typer.echo(f"{request.out}: {outcome}")
            progress.update()

        def on_segment(done: int, total: int) -> None:
            progress.update(0, f"segment {done} of {total} of the next video")

        result = make_batch(opened(), requests, on_video, on_segment)
    counts = f"{len(result.made)} generated, {len(result.reused)} up to date"
    typer.echo(f"{counts}, {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(1)
