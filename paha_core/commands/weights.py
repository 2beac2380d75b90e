"""`paha weights` and `paha licences`: pretrained weights and their licences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, one_sentence, print_table

weights = typer.Typer(
    no_args_is_help=True, help="Pretrained weights: list, fetch and verify, convert."
)

FolderOption = Annotated[
    Path, typer.Option("--to", help="The folder that holds fetched weights.", envvar="PAHA_WEIGHTS")
]
DEFAULT_FOLDER = Path("weights")


@weights.command("list")
def list_weights(folder: FolderOption = DEFAULT_FOLDER) -> None:
    """List every network that presets and metrics can use: present or not, size, licence, use."""
    with one_sentence():
        from paha_core.weights.fetch import place_of, read_lock
        from paha_core.weights.manifest import manifest

        lock = read_lock(folder)
        rows = [
            (
                name,
                "here" if name in lock and place_of(name, entry, folder).exists() else "-",
                _size(entry.bytes),
                manifest().licence_of(name).title,
                entry.use,
                entry.key,
            )
            for name, entry in manifest().weights.items()
        ]
        print_table(f"weights in {folder}", ("name", "", "size", "licence", "use", "key"), rows)


@weights.command("fetch")
def fetch_weights(
    preset: Annotated[str, typer.Argument(help="The preset whose weights are fetched.")] = "paper",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="These weights alone; may be repeated.")
    ] = None,
    folder: FolderOption = DEFAULT_FOLDER,
    source: Annotated[
        str,
        typer.Option("--from", help="A folder or file:// URL in place of the hub (no network)."),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print addresses, sizes and licences only.")
    ] = False,
) -> None:
    """Fetch the weights of a preset, verify them, and write the filled preset beside them.

    Downloads resume where they stopped. `HF_ENDPOINT` names a mirror of the hub. Nothing else in
    this project downloads weights.

    Examples:

        paha weights fetch paper                         all that the paper preset names

        paha weights fetch paper --only syncnet --only i3d

        paha weights fetch paper --from /media/usb --yes

        paha run --preset weights/paper.yaml
    """
    with one_sentence():
        from paha_core.weights.fetch import fetch, wanted_by, write_preset
        from paha_core.weights.manifest import manifest

        chosen = wanted_by(preset, only or [])
        rows = [
            (
                name,
                _size(entry.bytes),
                manifest().licence_of(name).title,
                f"{entry.repo} @ {entry.revision[:12]}" if entry.repo else entry.manual,
                manifest().licence_of(name).note,
            )
            for name, entry in chosen.items()
        ]
        total = _size(sum(entry.bytes for entry in chosen.values()))
        title = f"{total} for preset {preset}, to {folder}"
        print_table(title, ("name", "size", "licence", "from", "note"), rows)
        if dry_run or not (yes or typer.confirm("Fetch these under these licences?")):
            raise typer.Exit(0)
        done = fetch(
            chosen, folder, source=source, on_file=lambda name, file: typer.echo(f"{name}: {file}")
        )
        typer.echo(f"{done.downloaded} files fetched, {done.reused} were there")
        for name, instruction in done.manual.items():
            typer.echo(f"{name} has no address to fetch from: {instruction}")
        path = write_preset(preset, chosen, folder)
        typer.echo(f"wrote {path}: paha preset check {path}")


@weights.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="UniAnimate's or ModelScope's .pth file.")],
    folder: Annotated[Path, typer.Argument(help="Diffusers folder to write.")],
) -> None:
    """The original UNetSD layout (`input_blocks.…`) as a diffusers folder of safetensors.

    Examples:

        paha weights convert unianimate_16f_32f_non_ema_223000.pth weights/unianimate

        and in the preset:  univdm: {network: {pretrained: weights/unianimate}}

    The file is read without its pickles. Parts that the base network does not have (pose and sketch
    encoders, image tokens) are listed and left out. UniAnimate was trained with v-prediction and
    zero terminal SNR: set `univdm.prediction` and `univdm.zero_terminal_snr` to match.
    """
    with one_sentence():
        from paha_core.models.modelscope import convert_file

        made = convert_file(source, folder)
        values = sum(value.numel() for value in made.state.values())
        typer.echo(f"{folder}: {len(made.state)} tensors, {values / 1e6:,.1f} M parameters")
        parts = sorted({name.split(".")[0] for name in made.left_out})
        if parts:
            typer.echo(f"left out {len(made.left_out)} tensors of: {', '.join(parts)}")


def licences(preset: PresetOption = "demo") -> None:
    """Print the combined licence terms of a preset's weights, corpora and metrics.

    Examples:

        paha licences --preset paper
    """
    with one_sentence():
        from paha_core.stages import Workspace
        from paha_core.weights.licences import parts_of, summary

        parts = parts_of(Workspace(preset).preset)
        rows = [
            (part.kind, part.name, part.licence, "yes" if part.binds else "no", part.note)
            for part in parts
        ]
        columns = ("kind", "name", "licence", "binds the networks", "note")
        print_table(f"licences of preset {preset}", columns, rows)
        typer.echo(f"A network trained with this preset: {summary(parts)}.")


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
