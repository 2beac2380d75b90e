"""Messages to people: a run failed, or its checks found a regression. Off until a channel is set.

`PAHA_ALERT_WEBHOOK` is a URL that takes a JSON object with `text`: Slack, Mattermost, Teams and
most chat services offer one. `PAHA_ALERT_EMAIL` are addresses, separated by commas; mail goes
through `PAHA_SMTP` (`host:port`, by default `localhost:25`) from `PAHA_ALERT_FROM`.
"""

from __future__ import annotations

import json
import os
import smtplib
import urllib.request
from email.message import EmailMessage

import dagster as dg

TIMEOUT = 20.0  # seconds


def channels() -> list[str]:
    """Which channels the environment names: `webhook`, `email`."""
    return [name for name in ("webhook", "email") if os.environ.get(f"PAHA_ALERT_{name.upper()}")]


def alert(subject: str, text: str) -> None:
    """Send to every channel that is set. Raises `OSError` when one can't be reached."""
    if webhook := os.environ.get("PAHA_ALERT_WEBHOOK"):
        if not webhook.startswith(("http://", "https://")):
            raise OSError(f"PAHA_ALERT_WEBHOOK is not an http URL: {webhook!r}")
        data = json.dumps({"text": f"*{subject}*\n{text}"}).encode()
        request = urllib.request.Request(webhook, data, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    if addresses := os.environ.get("PAHA_ALERT_EMAIL"):
        message = EmailMessage()
        message["Subject"] = subject
        message["From"] = os.environ.get("PAHA_ALERT_FROM", "paha@localhost")
        message["To"] = addresses
        message.set_content(text)
        host, _, port = os.environ.get("PAHA_SMTP", "localhost:25").partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=TIMEOUT) as server:
            server.send_message(message)


def failure_text(run: dg.DagsterRun, error: str, failed: list[str]) -> tuple[str, str]:
    """Subject and text about a failed run: which stages, and the first one's own sentence."""
    stages = f"in {', '.join(failed)}" if failed else "before any stage"
    text = f"{error}\nRun {run.run_id} failed {stages}. `paha resume {run.run_id}` continues it."
    return f"PAHA: {run.job_name} failed", text


@dg.run_failure_sensor(
    name="alert_on_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,  # the only way to see runs that were started from the shell
    description="Sends a message to a chat or an address when a run failed (PAHA_ALERT_WEBHOOK, "
    "PAHA_ALERT_EMAIL); does nothing while neither is set.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    if not channels():
        return dg.SkipReason("no channel is set: PAHA_ALERT_WEBHOOK or PAHA_ALERT_EMAIL")
    events = context.get_step_failure_events()
    failed = [event.step_key for event in events if event.step_key]
    error = context.failure_event.message or "no reason was recorded"
    for event in events:
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            error = data.user_failure_data.description
            break
        if data.error is not None:
            error = data.error.message.strip()
            break
    alert(*failure_text(context.dagster_run, error, failed))
    return None


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """One line for each check of the run that did not pass."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    lines = []
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed:
            asset = evaluation.asset_key.to_user_string()
            lines.append(f"{asset}: {evaluation.check_name}: {evaluation.description or 'failed'}")
    return lines


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="alert_on_failed_checks",
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,  # the only way to see runs that were started from the shell
    description="Sends a message to the same channels when a run succeeded but a check failed: a "
    "regression of the benchmark, or forced guidance.",
)
def alert_on_failed_checks(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    if not channels():
        return dg.SkipReason("no channel is set: PAHA_ALERT_WEBHOOK or PAHA_ALERT_EMAIL")
    lines = failed_checks(context.instance, context.dagster_run.run_id)
    if not lines:
        return dg.SkipReason("every check passed")
    run = context.dagster_run
    alert(f"PAHA: checks of {run.job_name} did not pass", "\n".join([*lines, f"Run {run.run_id}."]))
    return None


ALL = [alert_on_failure, alert_on_failed_checks]
