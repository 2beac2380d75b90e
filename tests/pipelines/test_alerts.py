"""Alerts reach a webhook and a mail server, and nobody while no channel is set."""

import socketserver

import dagster as dg
import pytest
from loopback_chat import serving

from pipelines import alerts


@pytest.fixture
def mailbox(monkeypatch):
    """The few words of SMTP that a client needs."""
    received = []

    class Mail(socketserver.StreamRequestHandler):
        def say(self, line):
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self):
            self.say("220 tests")
            while line := self.rfile.readline().decode().strip():
                if line.upper() == "DATA":
                    self.say("354 go")
                    message = []
                    while (each := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        message.append(each)
                    received.append("\n".join(message))
                self.say("221 bye" if line.upper() == "QUIT" else "250 ok")

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)) as port:
        monkeypatch.setenv("PAHA_ALERT_EMAIL", "a@example.org, b@example.org")
        monkeypatch.setenv("PAHA_SMTP", f"127.0.0.1:{port}")
        yield received


@dg.op
def breaks():
    raise dg.Failure("no runs/demo/manifests/clips/pats: materialise `clips` first")


@dg.job
def failing():
    breaks()


@dg.asset
def benchmark():
    return 1


@dg.asset_check(asset=benchmark)
def no_regression():
    return dg.AssetCheckResult(passed=False, description="sequential fgd is worse than before")


CHECKED = dg.Definitions([benchmark], asset_checks=[no_regression])


def failure_tick(instance):
    done = failing.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failure",
        dagster_instance=instance,
        dagster_run=done.dagster_run,
        dagster_event=done.get_run_failure_event(),
    ).for_run_failure()
    return alerts.alert_on_failure(context), done.run_id


def success_tick(instance):
    job = CHECKED.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance)
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failed_checks",
        dagster_instance=instance,
        dagster_run=done.dagster_run,
        dagster_event=done.get_run_success_event(),
    )
    return alerts.alert_on_failed_checks(context)


def test_a_failed_run_is_reported_with_its_own_message(webhook, mailbox):
    with dg.DagsterInstance.ephemeral() as instance:
        result, run_id = failure_tick(instance)
    assert result is None
    [posted] = webhook
    assert posted["text"].startswith("*PAHA: failing failed*\nno runs/demo/manifests/clips/pats")
    assert f"Run {run_id} failed in breaks. `paha resume {run_id}` continues it." in posted["text"]
    [mail] = mailbox
    assert "Subject: PAHA: failing failed" in mail
    assert "To: a@example.org, b@example.org" in mail
    assert "materialise `clips` first" in mail


def test_a_failed_check_is_reported(webhook):
    with dg.DagsterInstance.ephemeral() as instance:
        assert success_tick(instance) is None
    [posted] = webhook
    assert "benchmark: no_regression: sequential fgd is worse than before" in posted["text"]


def test_without_a_channel_nothing_is_sent(monkeypatch):
    for name in ("PAHA_ALERT_WEBHOOK", "PAHA_ALERT_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        result, _ = failure_tick(instance)
        assert "no channel is set" in result.skip_message
        assert "no channel is set" in success_tick(instance).skip_message


def test_a_webhook_that_is_no_url_is_refused(monkeypatch):
    monkeypatch.setenv("PAHA_ALERT_WEBHOOK", "file:///etc/passwd")
    with pytest.raises(OSError, match="not an http URL"):
        alerts.alert("a", "b")
