"""The optional hook: a real MLflow with a file store."""

import builtins
import logging

import pytest

from paha_core.config import TrainerConfig
from paha_core.training.loop import fit
from paha_core.training.run import TrainingError
from tiny import TinyTask, config, run


def with_mlflow(folder, uri, train=None):
    made = run(folder, "a", train)
    made.trainer = TrainerConfig(log_every=10, tensorboard=False, mlflow=uri)
    return made


def test_metrics_of_a_training_and_its_continuation_are_one_run(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "tracked").as_uri()
    train = config()
    fit(TinyTask(), train, with_mlflow(tmp_path, uri, train))
    longer = train.model_copy(update={"steps": train.steps + 10})
    fit(TinyTask(), longer, with_mlflow(tmp_path, uri, longer))
    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("paha").experiment_id
    (tracked,) = client.search_runs([place])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["steps"] == str(train.steps)
    history = client.get_metric_history(tracked.info.run_id, "loss")
    assert [point.step for point in history] == [10, 20, 30, 40, 50]


def test_a_server_that_fails_costs_a_warning(tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, "paha"):
        assert fit(TinyTask(), config(), with_mlflow(tmp_path, "http://127.0.0.1:9"))
    assert [r.message for r in caplog.records if "MLflow does not take" in r.message]


def test_without_the_client_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def no_mlflow(name, *rest, **more):
        if name.partition(".")[0] == "mlflow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_mlflow)
    with pytest.raises(TrainingError, match="pip install 'paha\\[mlflow\\]'"):
        fit(TinyTask(), config(), with_mlflow(tmp_path, "file:///tmp/x"))
