"""Files of a store that the present preset no longer needs, with their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from paha_core.benchmark.tables.specs import SUITES
from paha_core.benchmark.tables.variants import OverlayStore, variant_name
from paha_core.config import Preset, derived
from paha_core.engine.claims import holder_of, try_claim
from paha_core.errors import UserError
from paha_core.inference.negatives import FOLDER, NegativePlan
from paha_core.store import Store
from paha_core.trained import FOR_NEGATIVES, UNIVDM
from paha_core.training.tasks.univdm import univdm_run

IN_USE = {
    "negatives are being generated": f"{FOLDER}/*/*",
    "a network is being trained": "checkpoints/*",
}
"""What is being done while a claim of this pattern is held."""


@dataclass(frozen=True)
class Leftover:
    """Files of one folder, or one path, of one kind, and their bytes."""

    what: str
    paths: list[str]
    bytes: int

    @property
    def where(self) -> str:
        """The path, or the folder with the number of its files."""
        if len(self.paths) == 1:
            return self.paths[0]
        return f"{self.paths[0].rpartition('/')[0]}/ ({len(self.paths)} files)"


def leftovers(store: Store, preset: Preset) -> list[Leftover]:
    """What can be deleted without changing a result of the preset.

    Raises `UserError` while negatives are being generated or networks trained, those of a variant
    too: a new shard's record is written after the shard, and a variant's earlier weights stay until
    the new ones are there, so that either would look superseded.
    """
    for place in (store, *(Store(f"{store.url}/{path}") for path in store.glob("variants/*"))):
        _refuse_while_in_use(place)
    variants = _variants(store, preset)
    superseded = superseded_variants(store, variants)
    found = [("superseded negatives", superseded_negatives(store, preset))]
    found += [("superseded variant", [path]) for path in superseded]
    for path, (over, changed) in variants.items():
        if path not in superseded:
            own = [f"{path}/{rel}" for rel in superseded_negatives(over, changed)]
            found.append(("superseded negatives of a variant", own))
    aside = store.glob("checkpoints/*.before-*") + store.glob("variants/*/checkpoints/*.before-*")
    found += [("earlier training run", [path]) for path in aside]
    return [
        Leftover(what, paths, sum(store.size(path) for path in paths))
        for what, paths in found
        if paths
    ]


def superseded_negatives(store: Store, preset: Preset) -> list[str]:
    """Shards, and their records, of another checkpoint, plan or preset; none while UniVDM's weights
    for the negatives are missing, since they decide which are current. Of an overlay's store, its
    own."""
    own = store.writable.glob(f"{FOLDER}/*")
    if not own or not store.exists(f"{FOR_NEGATIVES}/training.json"):
        return []
    current = {
        row["shard"].removesuffix(".tar")
        for dataset in preset.classifier_datasets
        for row in NegativePlan(store, preset, dataset).rows.values()
    }
    return [path for path in own if path.rpartition(".")[0] not in current]


Variants = dict[str, tuple[OverlayStore, Preset]]  # folder: store and preset


def superseded_variants(store: Store, variants: Variants) -> list[str]:
    """Folders of ablations that no table trains, or that were trained from other settings."""
    return [
        path
        for path in store.glob("variants/*")
        if path not in variants or _is_retrained(store, path, *variants[path])
    ]


def _is_retrained(store: Store, path: str, over: OverlayStore, preset: Preset) -> bool:
    """Whether a table would train the ablation again: its settings have changed."""
    trained = f"{path}/checkpoints/{UNIVDM}/final/training.json"
    if not store.exists(trained):
        return False
    return bool(
        store.read_json(trained)["fingerprint"] != univdm_run(over, preset, "cpu").fingerprint
    )


def _variants(store: Store, preset: Preset) -> Variants:
    """Every ablation that a table trains and the store holds."""
    rows = [row for suite in SUITES.values() for row in suite.rows if row.training]
    trainings = {f"variants/{variant_name(row.training)}": row.training for row in rows}
    return {
        path: (OverlayStore(f"{store.url}/{path}", store.url), derived(preset, trainings[path]))
        for path in store.glob("variants/*")
        if path in trainings
    }


def _refuse_while_in_use(store: Store) -> None:
    """Raises `UserError` while a process holds the claim of negatives or of a training."""
    for what, pattern in IN_USE.items():
        names = {path.rpartition("/")[0] for path in store.glob(f"claims/{pattern}/*.json")}
        for name in sorted(path.removeprefix("claims/") for path in names):
            holder = holder_of(store, name)
            if holder is None:
                continue
            claim = try_claim(store, name)
            if claim is None:
                raise UserError(f"{what} ({holder}): wait until that is done")
            claim.release()
