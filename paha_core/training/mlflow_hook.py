"""The metrics of a training in MLflow, where `trainer.mlflow` names a server or a folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from paha_core.config import TrainConfig
from paha_core.training.run import Run, Scalars, TrainingError

log = logging.getLogger("paha")

EXPERIMENT = "paha"
LINEAGE = "paha.lineage"  # tag: a training that resumes continues the run of its lineage


class MLflowRun:
    """One MLflow run for each network and lineage. If the server fails, its lines are lost with a
    warning, and the training continues."""

    def __init__(self, run: Run, config: TrainConfig) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise TrainingError(
                "trainer.mlflow needs its client: pip install 'paha[mlflow]', or leave it empty"
            ) from None
        self.name, self.metric = run.name, Metric
        self.errors = (MlflowException, OSError)  # errors of the server or the network
        self.run_id, self.warned = "", False
        self.client: Any = self._try(lambda: MlflowClient(tracking_uri=run.trainer.mlflow))
        if self.client is not None:
            self.run_id = self._try(lambda: self._open(run, config)) or ""

    def _open(self, run: Run, config: TrainConfig) -> str:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            place = self.client.create_experiment(EXPERIMENT)
        else:
            place = experiment.experiment_id
        found = self.client.search_runs([place], f"tags.`{LINEAGE}` = '{run.lineage}'")
        if found:
            known = str(found[0].info.run_id)
            self.client.set_terminated(known, "RUNNING")
            return known
        tags = {LINEAGE: run.lineage, "paha.store": run.store.url}
        made = str(self.client.create_run(place, run_name=run.name, tags=tags).info.run_id)
        for name, value in config.model_dump().items():
            self.client.log_param(made, name, value)
        return made

    def log(self, step: int, metrics: Scalars) -> None:
        """Log the finite metrics of a line."""
        if self.run_id:
            now = int(time.time() * 1000)
            batch = [self.metric(name, value, now, step) for name, value in metrics.items()]
            self._try(lambda: self.client.log_batch(self.run_id, metrics=batch))

    def close(self, finished: bool) -> None:
        if self.run_id:
            status = "FINISHED" if finished else "KILLED"
            self._try(lambda: self.client.set_terminated(self.run_id, status))

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except self.errors as error:
            if not self.warned:
                log.warning("%s: MLflow does not take the metrics: %s", self.name, error)
            self.warned = True
            return None
