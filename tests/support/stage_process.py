"""A stage as a Dagster asset whose process runs a script of the test."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from run_events import failures, observations

from paha_core.stages.stage_report import StageReport

RunStage = Callable[[dg.AssetExecutionContext], StageReport]


def write_script(script: Path, template: str, body: str) -> None:
    """The template, with `body` in the place of its indented line `{body}`."""
    indented = textwrap.indent(textwrap.dedent(body), "    ").strip()
    script.write_text(template.format(body=indented))


def materialize_univdm(
    run_stage: RunStage,
) -> tuple[StageReport | None, str, list[dg.AssetObservation]]:
    """Run the asset `univdm`; its report or None, the failure's message, its observations."""
    reports = []

    @dg.asset
    def univdm(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        reports.append(run_stage(context))
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([univdm], instance=instance, raise_on_error=False)
        failure = failures(instance, result.run_id)
        observed = observations(instance, result.run_id)
    return reports[0] if reports else None, failure, observed
