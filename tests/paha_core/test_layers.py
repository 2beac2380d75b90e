"""Imports run one way: a circle, or an import up, is a defect."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each may import from its own layer and from those below it.
LAYERS = (
    {"pipelines"},
    {"assets"},
    {"cli", "commands"},
    {"stages", "serve"},
    {"benchmark"},
    {"training"},
    {"inference"},
    {"shards", "metrics"},
    {"models", "corpora"},
    {"pose", "par"},
    {"media", "trained"},
    {"engine", "weights"},
    {"config", "pretrained"},
    {"store"},
    {"outages", "tables"},
    {"weight_formats"},
    {"errors", "local_files"},
)


@cache
def imports():
    """module -> the project's modules that it imports, inside functions too, types alone not."""
    files = [
        path for top in ("paha_core", "assets", "pipelines") for path in (ROOT / top).rglob("*.py")
    ]
    modules = {}
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return {
        name: {
            found
            for each in imported(tree)
            if (found := nearest(each, modules)) not in (None, name)
        }
        for name, tree in modules.items()
    }


def imported(node):
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{name.name}" for name in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def nearest(name, modules):
    """The module of the project that a dotted name lies in, if any."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def part(module):
    """`paha_core.pose.face` -> `pose`; `assets.clips` -> `assets`."""
    top, *below = module.split(".")
    return below[0] if top == "paha_core" and below else top


def test_no_file_imports_in_a_circle():
    assert list(TopologicalSorter(imports()).static_order())


def test_no_part_imports_in_a_circle():
    parts = {}
    for module, found in imports().items():
        parts.setdefault(part(module), set()).update(map(part, found))
    assert list(TopologicalSorter({a: found - {a} for a, found in parts.items()}).static_order())


@pytest.mark.parametrize("layer", range(1, len(LAYERS)))
def test_nothing_imports_up(layer):
    above = set().union(*LAYERS[:layer])
    upwards = {
        (module, found)
        for module, used in imports().items()
        if part(module) in LAYERS[layer]
        for found in used
        if part(found) in above
    }
    assert upwards == set()


# Inside the benchmark: each wing may import from those below it.
WINGS = ({"report"}, {"tables", "study"}, {"run"}, {"history"}, {"measuring"}, {"cells"})


def wing(module):
    """`paha_core.benchmark.report.page` -> `report`; None for what lies outside."""
    head, _, rest = module.partition("paha_core.benchmark.")
    return None if head or not rest else rest.split(".")[0]


def test_the_benchmarks_wings_import_downwards():
    order = {name: level for level, names in enumerate(WINGS) for name in names}
    inside = {module: used for module, used in imports().items() if wing(module)}
    assert {wing(module) for module in inside} == order.keys()
    upwards = {
        (module, found)
        for module, used in inside.items()
        for found in used
        if wing(found) and wing(found) != wing(module)
        if order[wing(found)] <= order[wing(module)]
    }
    assert upwards == set()


def test_every_package_has_a_layer():
    assert {part(module) for module in imports()} - {"paha_core"} == set().union(*LAYERS)


def test_the_picture_of_the_architecture_is_the_code():
    text = (ROOT / "docs/architecture.md").read_text()
    picture = re.search(r"```mermaid\n(.*?)```", text, re.S)[1]
    arrows = set(re.findall(r"^\s*(\w+)(?:\[[^]]*\])? --> (\w+)", picture, re.M))
    real = {(part(module), part(found)) for module, used in imports().items() for found in used}
    real |= {("commands", found) for above, found in real if above == "cli"}
    assert {arrow for arrow in arrows if arrow not in real} == set()
    drawn = {name for arrow in arrows for name in arrow}
    assert set().union(*LAYERS) - drawn == {"cli", "pretrained"}
