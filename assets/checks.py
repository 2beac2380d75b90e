"""Asset checks, apart from the assets. They block where continuing makes no sense."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from paha_core.stages import ALL as ALL_STAGES
from paha_core.stages import Workspace
from paha_core.stages.checks import CheckOutcome
from paha_core.trained import CLASSIFIERS

WorkspaceParam = dg.ResourceParam[Workspace]


def _result(
    outcome: CheckOutcome,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    more: Mapping[str, dg.MetadataValue[Any]] | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=outcome.passed,
        severity=severity,
        description=outcome.message,
        metadata={**outcome.figures, **(more or {})},
    )


@dg.asset_check(asset="keypoints", blocking=True)
def keypoint_coverage(workspace: WorkspaceParam) -> dg.AssetCheckResult:
    """Most clips have keypoints, and most of their frames a face and a body."""
    from paha_core.stages import checks

    return _result(checks.keypoint_coverage(workspace.store, workspace.preset))


@dg.asset_check(asset="clips", blocking=True)
def split_leakage(workspace: WorkspaceParam) -> dg.AssetCheckResult:
    """No programme is both in train and in test; for PATS's published split they are counted."""
    from paha_core.stages import checks

    return _result(checks.split_leakage(workspace.store, workspace.preset))


@dg.asset_check(asset="training_shards", blocking=True)
def shard_integrity(workspace: WorkspaceParam) -> dg.AssetCheckResult:
    """Every shard has the sha256 in its manifest; train and test both have clips."""
    from paha_core.stages import checks

    return _result(checks.shard_integrity(workspace.store, workspace.preset))


@dg.asset_check(asset="generated_clips", blocking=True)
def as_long_as_audio(workspace: WorkspaceParam) -> dg.AssetCheckResult:
    """Every generated video lasts as long as the sound inside it."""
    from paha_core.stages import checks

    return _result(checks.generated_durations(workspace.store, workspace.preset))


def _finite_loss(network: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=network,
        name="finite_loss",
        blocking=True,
        description="Every held-out loss is a finite number, and few steps were skipped.",
    )
    def check(workspace: WorkspaceParam) -> dg.AssetCheckResult:
        from paha_core.stages import checks

        if replacement := ALL_STAGES[network].replaced(workspace.preset):
            return _result(CheckOutcome(True, f"nothing was trained: {replacement}"))
        return _result(checks.finite_loss(workspace.store, network))

    return check


def _audio_swap(classifier: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=classifier,
        name="audio_swap",
        blocking=True,
        description="Another clip's voice, or another moment's, lowers the score of held-out real "
        "clips. A failure blocks generation, unless generation.force_guidance lets it warn.",
    )
    def check(workspace: WorkspaceParam) -> dg.AssetCheckResult:
        from paha_core.stages import checks

        forced = workspace.preset.generation.force_guidance
        severity = dg.AssetCheckSeverity.WARN if forced else dg.AssetCheckSeverity.ERROR
        return _result(checks.audio_swap(workspace.store, workspace.preset, classifier), severity)

    return check


def _sound_only(classifier: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=classifier,
        name="sound_only",
        description="An audio-only probe can't separate mismatched from matched sound.",
    )
    def check(workspace: WorkspaceParam) -> dg.AssetCheckResult:
        from paha_core.stages import checks

        return _result(checks.sound_only(workspace.store, workspace.preset, classifier))

    return check


@dg.asset_check(asset="benchmark")
def no_regression(workspace: WorkspaceParam) -> dg.AssetCheckResult:
    """No metric is worse than at the last accepted checkpoint by more than both intervals."""
    from paha_core.benchmark import history
    from paha_core.benchmark.report.trends import trend_markdown

    verdict = history.judge(workspace.store)
    figures: dict[str, float | str] = {"evaluations": verdict.evaluations}
    figures["against"] = verdict.against or "nothing"
    figures |= {f"{r.system} {r.metric}": f"{r.before:g} to {r.now:g}" for r in verdict.regressions}
    outcome = CheckOutcome(verdict.passed, verdict.message, figures)
    trend = dg.MetadataValue.md(trend_markdown(workspace.store) or "one evaluation yet")
    return _result(outcome, dg.AssetCheckSeverity.WARN, {"trend": trend})


ALL = [
    split_leakage,
    keypoint_coverage,
    shard_integrity,
    *(_finite_loss(name) for name, stage in ALL_STAGES.items() if stage.trains),
    *(_audio_swap(classifier) for classifier in CLASSIFIERS),
    *(_sound_only(classifier) for classifier in CLASSIFIERS),
    as_long_as_audio,
    no_regression,
]
