"""Trains a network in `trainer.processes` processes.

    python -m paha_core.training.parallel

is what each of them runs. The pickled `ParallelTask` of the process that started them is in their
environment, so that a kill leaves no file behind.
"""

from __future__ import annotations

import base64
import logging
import os
import pickle
import sys
from dataclasses import dataclass

from paha_core.config import Preset
from paha_core.engine.processes import INTERRUPTED, is_main_process
from paha_core.errors import EXPECTED, Interrupted
from paha_core.store import Store
from paha_core.trained import (
    CLASSIFIERS,
    PARTS,
    UNIVDM,
    UNIVDM_FAST,
    classifier_name,
    gate_verdict,
)
from paha_core.training.distributed import is_launched
from paha_core.training.launch import launch, processes_of
from paha_core.training.run import Run, TrainingError
from paha_core.training.tasks import classifier, fast, univdm

TASK = "PAHA_PARALLEL_TASK"


@dataclass(frozen=True)
class ParallelTask:
    store: Store
    preset: Preset
    network: str
    device: str


def train(store: Store, preset: Preset, run: Run) -> bool:
    """Train UniVDM, its student or a classifier, `run.name`; returns whether there was work.

    Training runs in this process if `trainer.processes` is 1 or a launcher started it as one of
    several; otherwise in new processes, whose metrics go to the log only. Raises `Interrupted` when
    they were stopped and saved a checkpoint, `TrainingError` when one failed.
    """
    processes = 1 if is_launched() else processes_of(preset.trainer.processes)
    if processes == 1:
        return _train_here(store, preset, run)
    examined = run.name not in CLASSIFIERS or gate_verdict(store, preset, run.name) is not None
    if run.is_done() and examined:
        return False
    task = pickle.dumps(ParallelTask(store, preset, run.name, run.device))
    command = [sys.executable, "-m", "paha_core.training.parallel"]
    environment = {TASK: base64.b64encode(task).decode()}
    code = launch(command, processes, preset.trainer.grace_seconds, environment)
    if code == INTERRUPTED:
        raise Interrupted(f"{run.name}: stopped, saved")
    if code:
        raise TrainingError(
            f"{run.name}: one of its {processes} processes ended with code {code}; its message is "
            "above"
        )
    return True


def new_run(store: Store, preset: Preset, network: str, device: str) -> Run:
    """The run of UniVDM, its student or a classifier."""
    if network == UNIVDM:
        return univdm.univdm_run(store, preset, device)
    if network == UNIVDM_FAST:
        return fast.fast_run(store, preset, device)
    [part] = [part for part in PARTS if classifier_name(part) == network]
    return classifier.classifier_run(store, preset, part, device)


def _train_here(store: Store, preset: Preset, run: Run) -> bool:
    if run.name == UNIVDM:
        return univdm.train_univdm(store, preset, run)
    if run.name == UNIVDM_FAST:
        return fast.train_fast(store, preset, run)
    [part] = [part for part in PARTS if classifier_name(part) == run.name]
    return classifier.train_classifier(store, preset, part, run)


def main() -> int:
    """One of the processes; returns its exit code."""
    level = logging.INFO if is_main_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    work: ParallelTask = pickle.loads(base64.b64decode(os.environ.pop(TASK)))
    if work.preset.threads:
        import torch

        torch.set_num_threads(work.preset.threads)
    try:
        run = new_run(work.store, work.preset, work.network, work.device)
        _train_here(work.store, work.preset, run)
    except Interrupted as saved:
        logging.getLogger("paha").warning("%s", saved)
        return INTERRUPTED
    except EXPECTED as error:
        logging.getLogger("paha").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
