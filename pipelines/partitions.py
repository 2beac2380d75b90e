"""Which partitions a job covers by default."""

from assets.partitions import CHOSEN, CORPORA, SMOKE, datasets_of

__all__ = ["CORPORA", "SMOKE", "whole_range"]


def whole_range(preset: str = CHOSEN) -> dict[str, str]:
    """Tags that make a job over partitioned assets run bare, over all of a preset's corpora in one
    run.

    `--tags '{"dagster/partition": "pats"}'` narrows it to one.
    """
    keys = CORPORA.get_partition_keys()
    covered = [key for key in keys if key in datasets_of(preset)] or keys
    return {
        "dagster/asset_partition_range_start": covered[0],
        "dagster/asset_partition_range_end": covered[-1],
    }
