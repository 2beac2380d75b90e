"""A row type beside each Parquet schema names the same columns: a wrong key is a type error."""

import pyarrow as pa
import pytest

from paha_core.benchmark.history import HISTORY_SCHEMA, HistoryRow
from paha_core.benchmark.measuring import systems
from paha_core.corpora.clips import CLIP_SCHEMA, ClipRow
from paha_core.corpora.download import LEDGER_SCHEMA, LedgerRow
from paha_core.corpora.pats_summary import SPLIT_ID_SCHEMA, SplitIdRow
from paha_core.corpora.source_manifest import SOURCE_SCHEMA, SourceRow
from paha_core.engine.manifest_stage import BASE_SCHEMA, ManifestRow, stage_schema
from paha_core.inference.held_out import GENERATED_SCHEMA, GeneratedRow
from paha_core.par.stage import PAR_SCHEMA, MaskColumns
from paha_core.pose.stage import FACE_SCHEMA, KEYPOINT_SCHEMA, FaceColumns, KeypointColumns
from paha_core.shards.writer import INDEX_SCHEMA, IndexRow

PUBLISHED = pa.schema([BASE_SCHEMA.field("path"), BASE_SCHEMA.field("sha256")])


@pytest.mark.parametrize(
    ("row_type", "schema"),
    [
        (ManifestRow, BASE_SCHEMA),
        (ClipRow, stage_schema(CLIP_SCHEMA)),
        (SourceRow, stage_schema(SOURCE_SCHEMA)),
        (IndexRow, INDEX_SCHEMA),
        (GeneratedRow, GENERATED_SCHEMA),
        (KeypointColumns, pa.schema([*PUBLISHED, *KEYPOINT_SCHEMA])),
        (FaceColumns, pa.schema([*PUBLISHED, *FACE_SCHEMA])),
        (MaskColumns, pa.schema([*PUBLISHED, *PAR_SCHEMA])),
        (LedgerRow, LEDGER_SCHEMA),
        (SplitIdRow, SPLIT_ID_SCHEMA),
        (HistoryRow, HISTORY_SCHEMA),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_row_type_names_the_columns_of_its_schema(row_type, schema):
    assert sorted(row_type.__annotations__) == sorted(schema.names)


def test_what_a_system_adds_is_in_its_schema():
    assert set(systems.SystemRow.__annotations__) < set(systems.SCHEMA.names)
