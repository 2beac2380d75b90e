"""Another project's `assets` is refused by name, not mixed with ours."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load(*path):
    code = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}; import pipelines"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")


def test_another_package_called_assets_is_named(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/__init__.py").write_text("")
    refused = load(tmp_path, ROOT)
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: `assets` comes from {tmp_path}, and not from PAHA in")


def test_ours_alone_loads():
    assert load(ROOT).returncode == 0
