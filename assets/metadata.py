"""Runs a library stage for Dagster, and shows its report as metadata."""

import base64
import io
from typing import Any

import dagster as dg

from assets.launchers.resource import Launchers, cluster_of
from paha_core.engine.processes import die_with_creator
from paha_core.errors import EXPECTED, under_dagster
from paha_core.stages import Workspace, run_stage, stage_of
from paha_core.stages.report_cache import ReportCache
from paha_core.stages.stage_report import StageReport

PICTURE_BYTES, PICTURE_SIDE = 100_000, 1600  # a larger PNG is shown as a JPEG of at most that side


def materialized(
    context: dg.AssetExecutionContext, workspace: Workspace, name: str, launchers: Launchers
) -> dg.MaterializeResult:
    """Run the stage of that name where `launchers` say, and show its report.

    On this machine a stage on the GPU runs in a process of its own, so that its memory is returned.
    Expected failures (a bad preset, a missing input) become a `Failure` with one sentence; anything
    else surfaces as it is.
    """
    from assets.launchers.cluster import run_on_cluster
    from assets.process import run_in_process

    die_with_creator()  # when the run is killed its stages end too
    partitioned = context.assets_def.partitions_def is not None
    datasets = list(context.partition_keys) if partitioned else None
    try:
        # refuse a bad preset, and launchers that it does not fit, before anything is started
        launchers.check_limits(workspace.preset.trainer.grace_seconds)
        with under_dagster():
            cache = ReportCache(name, workspace, datasets)
            cached = cache.load()
            if cached is not None:
                return result(cached, workspace)
            cluster = cluster_of(getattr(launchers, stage_of(name).group))
            if cluster is not None:
                report = run_on_cluster(context, workspace, name, cluster, datasets)
            elif stage_of(name).on_device:
                report = run_in_process(context, workspace, name)
            else:
                report = run_stage(name, workspace, datasets=datasets)
            cache.save(report)
    except EXPECTED as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    return result(report, workspace)


def result(report: StageReport, workspace: Workspace) -> dg.MaterializeResult:
    """The report as metadata: counts, figures, rejections, where things are, pictures."""
    metadata: dict[str, Any] = {
        "preset": workspace.preset.name,
        "kept": report.kept,
        "rejected": report.rejected,
        "computed": report.computed,
        "reused": report.reused,
    }
    metadata |= {name: _place(uri) for name, uri in report.artifacts.items()}
    if report.figures:
        metadata["figures"] = table(report.figures, "figure", "value")
    if report.reasons:
        metadata["rejections"] = table(report.reasons, "reason", "count")
    for title, rel in report.pictures.items():
        inline = _data_url(workspace.store.read_bytes(rel))
        metadata[title] = dg.MetadataValue.md(f"![{title}]({inline})")
    for title, rel in report.pages.items():
        metadata[title] = dg.MetadataValue.md(workspace.store.read_bytes(rel).decode())
    version = dg.DataVersion(report.data_version) if report.data_version else None
    return dg.MaterializeResult(metadata=metadata, data_version=version)


def _place(uri: str) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.url(uri) if "://" in uri else dg.MetadataValue.path(uri)


def _data_url(png: bytes) -> str:
    """The picture itself as a URL, small: it stays in the event log with every run."""
    if len(png) <= PICTURE_BYTES:
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"
    from PIL import Image

    picture, sink = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    picture.save(sink, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def table(values: dict[str, Any], key: str, value: str) -> dg.TableMetadataValue:
    """A mapping as a two-column table, the largest count first."""
    pairs = list(values.items())
    if value == "count":
        pairs.sort(key=lambda pair: -pair[1])
    records = [dg.TableRecord({key: k, value: _cell(v)}) for k, v in pairs]
    columns = [dg.TableColumn(key, "string"), dg.TableColumn(value, "string")]
    return dg.TableMetadataValue(records, dg.TableSchema(columns))


def _cell(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
