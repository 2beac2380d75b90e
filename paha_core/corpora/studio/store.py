"""The studio corpus in a store: rendered in place on a disk, through a scratch folder elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paha_core.corpora.studio.corpus import INDEX, INTERVALS, StudioProgramme, render_corpus
from paha_core.store import Store


def render_to_store(store: Store, rel: str, **settings: Any) -> tuple[StudioProgramme, ...]:
    """`render_corpus(**settings)` to the folder `rel` of a store; returns the programmes.

    Encoders need files. In an object store each programme is rendered to a scratch folder, uploaded
    when it is complete, and removed here; the index comes after the files that it names, so that an
    interrupted run resumes where it stopped. What is stored already is not downloaded.
    """
    if store.is_local:
        return render_corpus(Path(store.full(rel)), **settings).programmes
    stored = {name.removeprefix(f"{rel}/") for name in store.versions(f"{rel}/")}
    with tempfile.TemporaryDirectory(prefix="paha-studio-") as scratch:
        folder = Path(scratch)
        if INDEX in stored:
            (folder / INDEX).write_bytes(store.read_bytes(f"{rel}/{INDEX}"))

        def upload(names: Sequence[str]) -> None:
            for name in names:
                store.upload(folder / name, f"{rel}/{name}")
                if name != INDEX:
                    (folder / name).unlink()

        corpus = render_corpus(folder, stored=stored, on_rendered=upload, **settings)
        files = [path for p in corpus.programmes for path in (p.video, p.truth)]
        named = {path.relative_to(folder).as_posix() for path in files}
        stale = stored - named - {INDEX, INTERVALS}
        if stale or INTERVALS not in stored or any(p.rendered for p in corpus.programmes):
            store.remove_files([f"{rel}/{name}" for name in sorted(stale)])
            upload([INTERVALS, INDEX])
    return corpus.programmes
