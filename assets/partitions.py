"""The data stages are divided by corpus, never by clip: skipping clips is the manifests' work."""

import warnings

import dagster as dg

# It has worked unchanged since Dagster 1.4; the warning would come once for each asset.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

CORPORA = dg.StaticPartitionsDefinition(["pats", "cnas"])
ONE_RUN = dg.BackfillPolicy.single_run()
