"""Jobs, schedules, sensors and resources, which run the assets."""

from importlib.util import find_spec
from pathlib import Path


def check_for_clash(own: Path, packages: tuple[str, ...] = ("assets", "paha_core")) -> None:
    """Raises `ImportError` where another distribution's package of the same name comes first.

    `assets` and `pipelines` are plain names, and Python takes the first on its path: half of this
    project with half of another fails in ways that name neither.
    """
    for name in packages:
        spec = find_spec(name)
        found = Path(spec.origin).parent.parent if spec and spec.origin else None
        if found != own:
            raise ImportError(
                f"`{name}` comes from {found or 'nowhere'}, and not from PAHA in {own}: another "
                "package of that name is installed or lies in this folder. Install PAHA in an "
                "environment of its own, and start from its folder"
            )


check_for_clash(Path(__file__).resolve().parent.parent)
