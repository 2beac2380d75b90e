"""What is imported is declared: a package that only comes along with another may leave with it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = {"paha_core", "assets", "pipelines"}


def imported(folder):
    """The top-level packages that the files below a folder import."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "dev"]
    wanted = [*project["dependencies"], *(line for lines in extras for line in lines)]
    return {re.split(r"[<>=\[ ;]", line)[0].lower().replace("_", "-") for line in wanted}


def test_every_imported_package_is_declared():
    ours = {name for folder in OWN for name in imported(folder)} - OWN - sys.stdlib_module_names
    carriers = {
        package: {name.lower().replace("_", "-") for name in names}
        for package, names in packages_distributions().items()
    }
    # Where an extra is not installed, nothing says which package carries the name.
    carriers.setdefault("mlflow", {"mlflow-skinny"})
    missing = {name for name in ours if not carriers.get(name, {name}) & declared()}
    assert missing == set()
