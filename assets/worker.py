"""A stage of the library in a process of its own, its report and figures sent back through Pipes.

    python -m assets.worker STAGE [PARENT_PID]

Started by `assets.process`, preset and store come in PAHA_PRESET and PAHA_STORE; in a cluster's job
(`assets.launchers`) PAHA_LAUNCH names the folder of the store that holds them. Exit codes: 0 done,
1 failed, 75 interrupted and saved. Of several processes only the first opens Pipes.
"""

import logging
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from paha_core.engine.processes import INTERRUPTED, die_with_parent, is_main_process
from paha_core.errors import EXPECTED, Interrupted
from paha_core.stages import Workspace, run_stage

FIGURES_EVERY = 5.0  # seconds


def main(arguments: list[str]) -> int:
    """Run the stage; returns the exit code."""
    stage, *rest = arguments
    die_with_parent(int(rest[0]) if rest else None)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    from dagster_pipes import open_dagster_pipes

    if "PAHA_LAUNCH" not in os.environ:
        workspace = Workspace(os.environ["PAHA_PRESET"], os.environ["PAHA_STORE"])
        with open_dagster_pipes() if is_main_process() else nullcontext() as pipes:
            return _run(stage, workspace, pipes)

    from assets.launchers.remote import StoreContextLoader, StoreMessageWriter, workspace_of_job

    try:
        with workspace_of_job() as workspace:
            if not is_main_process():
                return _run(stage, workspace, None)
            with open_dagster_pipes(
                context_loader=StoreContextLoader(), message_writer=StoreMessageWriter()
            ) as pipes:
                chosen = replace(workspace, speakers=tuple(pipes.extras["speakers"]))
                return _run(stage, chosen, pipes, pipes.extras["datasets"])
    except EXPECTED as error:
        logging.getLogger("paha").error("%s", error)
        return 1


def _run(stage: str, workspace: Workspace, pipes: Any, datasets: list[str] | None = None) -> int:
    reported = 0.0

    def on_metrics(number: int, figures: dict[str, float]) -> None:
        nonlocal reported
        if pipes is not None and time.monotonic() - reported > FIGURES_EVERY:
            reported = time.monotonic()
            pipes.report_custom_message({"figures": {"step": number} | figures})

    try:
        report = run_stage(stage, workspace, datasets=datasets, on_metrics=on_metrics)
    except Interrupted as saved:
        logging.getLogger("paha").warning("%s", saved)
        return INTERRUPTED
    except Exception as error:
        expected = isinstance(error, EXPECTED)
        if pipes is not None:
            message = str(error) if expected else f"{type(error).__name__}: {error}"
            pipes.report_custom_message({"error": f"{stage}: {message}"})
        logging.getLogger("paha").error("%s failed", stage, exc_info=not expected)
        return 1
    if pipes is not None:
        pipes.report_custom_message({"report": report.as_dict()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
