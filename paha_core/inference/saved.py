"""Saved pipelines: how to recognise and find them, and the base, which is inside the package.

The base is a small pipeline that this project trained on people whom its own studio draws
(`paha_core/presets/base.yaml`). `paha export --base` writes it, the wheel contains it, and the name
`base` opens it wherever a folder can be given.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BASE = "base"
INDEX = "index.json"


def is_saved(folder: Path) -> bool:
    """Whether `PipelineComponents.save_pretrained` wrote the folder."""
    return (folder / INDEX).is_file() and (folder / "univdm").is_dir()


def base_folder() -> Path:
    """Where the package keeps the base, whether or not it is there."""
    return Path(str(resources.files("paha_core"))) / BASE


def saved_folder(name: str | Path) -> Path:
    """The folder of the saved pipeline `name`: a path, or `base`.

    Raises `FileNotFoundError` where there is none; the message says how to get one.
    """
    folder = Path(name)
    if is_saved(folder):
        return folder
    if str(name) != BASE:
        raise FileNotFoundError(f"{folder} holds no pipeline: make one with `paha export`")
    if not is_saved(base_folder()):
        raise FileNotFoundError(
            "this copy of PAHA carries no base: train one with `paha train classifier face -p "
            "base`, the same for non_face, and `paha export --base`; or name a run of your own "
            "(--preset, --store) or a folder that `paha export` wrote (--folder)"
        )
    return base_folder()
