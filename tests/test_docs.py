"""Pages stay true: pointers resolve, links exist, prose is wrapped at one width."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path
    for top in ("paha_core", "assets", "pipelines", "benchmarks", "tests", "docs")
    for pattern in ("*.py", "*.md", "*.yaml")
    for path in (ROOT / top).rglob(pattern)
]
WIDTH = 120


def test_every_pointer_to_the_design_resolves():
    sections = set(re.findall(r"^## (\d+)\.", (ROOT / "docs/design.md").read_text(), re.M))
    wrong = [
        f"{path.relative_to(ROOT)}: {pointer}"
        for path in SOURCES
        for pointer in re.findall(r"docs/design\.md (\d+)", path.read_text())
        if pointer not in sections
    ]
    assert wrong == []
    old = [path for path in SOURCES if re.search(r"\bDESIGN \d", path.read_text())]
    assert [path for path in old if path != Path(__file__)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:paha_core|assets|pipelines|tests|benchmarks|docs)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_wrapped(page):
    inside_code = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        inside_code ^= line.startswith("```")
        if inside_code or line.startswith(("|", "![", "```")) or "http" in line:
            continue
        assert len(line) <= WIDTH, f"{page.name}:{number} has {len(line)} columns"
