"""The data stages are divided by corpus, never by clip: skipping clips is the manifests' work.

The partitions are the corpora of the preset that is chosen when Dagster loads the definitions
(PAHA_PRESET, else the demo), and those of the smoke preset, whose job is always there.
"""

import os
import warnings
from functools import cache

import dagster as dg

from paha_core.config import PresetError, load_preset

# It has worked unchanged since Dagster 1.4; the warning would come once for each asset.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

SMOKE = "smoke"


@cache
def datasets_of(preset: str) -> list[str]:
    """The corpora of a preset; none for one that can't be read, since each asset fails with the
    reason."""
    try:
        return load_preset(preset).corpora.datasets
    except PresetError:
        return []


CHOSEN = os.environ.get("PAHA_PRESET") or "demo"
CORPORA = dg.StaticPartitionsDefinition(
    list(dict.fromkeys([*datasets_of(CHOSEN), *datasets_of(SMOKE)]))
)
ONE_RUN = dg.BackfillPolicy.single_run()
