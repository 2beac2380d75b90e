"""Which partitions a job covers when nobody says."""

from assets.partitions import CORPORA

__all__ = ["CORPORA", "whole_range"]


def whole_range() -> dict[str, str]:
    """Tags that make a job over partitioned assets run bare, over all corpora in one run.

    `--tags '{"dagster/partition": "pats"}'` narrows it to one.
    """
    keys = CORPORA.get_partition_keys()
    return {
        "dagster/asset_partition_range_start": keys[0],
        "dagster/asset_partition_range_end": keys[-1],
    }
