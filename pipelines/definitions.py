"""The Dagster definitions: assets, checks, jobs, schedules, sensors, resources."""

import os

import dagster as dg

from assets import checks
from assets.inputs import observed_inputs
from assets.launchers.resource import launchers_of
from assets.stages import ASSETS
from pipelines import jobs, schedules, sensors
from pipelines.resources import WORKSPACE

defs = dg.Definitions(
    assets=[*ASSETS.values(), observed_inputs],
    asset_checks=checks.ALL,
    jobs=jobs.ALL,
    schedules=schedules.ALL,
    sensors=sensors.ALL,
    resources={
        "workspace": WORKSPACE,
        "launchers": launchers_of(os.environ.get("PAHA_LAUNCHERS")),
    },
)
