"""Runs a stage in a process of its own, through Dagster Pipes, and leaves no process behind.

Dagster's stock client signals only its direct child and shows figures at the end. This one starts
the child in its own session and signals that whole group, on every way out.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from paha_core.engine.processes import INTERRUPTED
from paha_core.stages import Workspace
from paha_core.stages.stage_report import StageReport
from paha_core.trained import PARALLEL

# Dagster's own use of its preview; it would come with every stage.
warnings.filterwarnings("ignore", message=".*expected_writer_count.*")

RESUMES = 5  # how often an interrupted stage is restarted automatically
POLL = 0.1
RESUME_AFTER = 5.0  # seconds before a restart, so that the interrupting process gets the machine
OBSERVE_EVERY = 30.0  # seconds between observations with live figures
WORKER = (sys.executable, "-m", "assets.worker")


def run_in_process(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    stage: str,
    worker: Sequence[str] = WORKER,
) -> StageReport:
    """Run `worker STAGE PARENT_PID`, with preset and store in its environment; returns its report.

    Raises `dg.Failure` with the child's own message, and a hint about memory when the child was
    killed. A stage that was interrupted and saved a checkpoint is started again (`RESUMES` times).
    """
    settings = {"PAHA_PRESET": workspace.preset_name, "PAHA_STORE": workspace.store.url}
    grace = workspace.preset.trainer.grace_seconds
    with dg.open_pipes_session(
        context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
    ) as session:
        environment = os.environ | session.get_bootstrap_env_vars() | settings
        child = subprocess.Popen(
            _command(workspace, stage, worker), env=environment, start_new_session=True
        )
        try:
            code = _watch(context, session, child)
        finally:
            _end_group(child, grace)
    return outcome(context, stage, code, session.get_custom_messages(), RESUMES)


def outcome(
    context: dg.AssetExecutionContext,
    stage: str,
    code: int,
    messages: Sequence[Any],
    resumes: int,
    last_line: str = "",
) -> StageReport:
    """The report of a worker that ended with `code` after those Pipes messages, else its failure,
    or the request to resume it. `last_line` of its log: where it could not send a message."""
    if code > 128:  # as shells tell a signal
        code = 128 - code
    reports = [message["report"] for message in messages if "report" in message]
    if code == 0 and reports:
        return StageReport(**reports[-1])
    errors = [message["error"] for message in messages if "error" in message]
    if code == INTERRUPTED and context.op_execution_context.retry_number < resumes:
        context.log.warning("%s was interrupted and saved a checkpoint; it starts again", stage)
        raise dg.RetryRequested(max_retries=resumes, seconds_to_wait=RESUME_AFTER)
    raise _failure(stage, code, errors, last_line)


def _command(workspace: Workspace, stage: str, worker: Sequence[str]) -> list[str]:
    """The command of the worker, or of a launcher where the preset trains the network in several
    processes."""
    trainer = workspace.preset.trainer
    if stage in PARALLEL and trainer.processes != 1:
        launcher = (sys.executable, "-m", "paha_core.training.launch")
        return [*launcher, str(trainer.processes), str(trainer.grace_seconds), *worker, stage]
    return [*worker, stage, str(os.getpid())]


def _watch(context: dg.AssetExecutionContext, session: Any, child: subprocess.Popen[bytes]) -> int:
    """Forward the child's metrics while it runs; returns its exit code."""
    observed = time.monotonic()
    while (code := child.poll()) is None:
        time.sleep(POLL)
        if time.monotonic() - observed > OBSERVE_EVERY:
            observed = time.monotonic()
            observe(context, session)
    return code


def observe(context: dg.AssetExecutionContext, session: Any) -> None:
    """The last figures that the worker sent, as an observation of its asset."""
    figures = [m["figures"] for m in session.get_custom_messages() if "figures" in m]
    if figures:
        last = figures[-1]
        message = ", ".join(f"{name} {last[name]:.5g}" for name in ("step", "loss") if name in last)
        context.log_event(
            dg.AssetObservation(context.asset_key, description=message, metadata=last)
        )


def _end_group(child: subprocess.Popen[bytes], grace: float) -> None:
    """Send SIGTERM to the child's process group, and SIGKILL after `grace` seconds."""
    for signum, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signum)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            child.poll()  # an unreaped child remains in its group
            try:
                os.killpg(child.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(POLL)


def _failure(stage: str, code: int, errors: list[str], last_line: str) -> dg.Failure:
    if errors:
        return dg.Failure(errors[-1], allow_retries=False)
    if code == -signal.SIGKILL:
        return dg.Failure(
            f"{stage} was killed (return code -9). Most often the machine ran out of memory: lower "
            "the preset's batch, frames or workers. Finished work is kept; start again to resume.",
            allow_retries=False,
        )
    if code in (INTERRUPTED, -signal.SIGTERM):
        return dg.Failure(f"{stage} was interrupted; start it again to resume from its checkpoint")
    said = f": {last_line}" if last_line else "; its own message is in this stage's output"
    return dg.Failure(f"{stage} ended with code {code}{said}")
