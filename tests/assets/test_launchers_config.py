"""Where stages run: by a deployment's file, by a run's config, and what is refused of both."""

import dagster as dg
import pytest
import yaml
from ray_cluster import ROOT

from assets.launchers.resource import Launchers, launchers_of
from assets.launchers.slurm import SlurmLauncher
from assets.stages import ASSETS
from paha_core.errors import UserError
from paha_core.stages import Workspace

GROUPS = ("data", "networks", "results", "tables")


def of_groups(config, file=None):
    """The launchers that a run with that config gets."""
    seen = []

    @dg.op
    def look(launchers: Launchers) -> None:
        seen.append({group: getattr(launchers, group) for group in GROUPS})

    @dg.job(resource_defs={"launchers": launchers_of(file and str(file))})
    def once():
        look()

    assert once.execute_in_process(run_config=config).success
    return seen[0]


def config_of(**groups):
    return {"resources": {"launchers": {"config": groups}}}


@pytest.fixture
def file(tmp_path):
    """Writes a deployment's file; returns its path."""

    def write(content):
        path = tmp_path / "launchers.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def test_everything_is_local_unless_somebody_says_otherwise():
    assert {launcher.kind for launcher in of_groups({}).values()} == {"local"}


@pytest.mark.parametrize("example", sorted((ROOT / "deploy").glob("*/launchers.yaml")), ids=str)
def test_the_examples_are_a_runs_config_and_a_deployments_file(example):
    launchers = of_groups({}, example)
    assert launchers == of_groups(yaml.safe_load(example.read_text()))
    assert example.parent.name in {launchers["networks"].kind, launchers["data"].kind}


def test_a_runs_config_changes_only_the_groups_that_it_names(file):
    slurm = {"slurm": {"partition": "gpu", "hosts": 2}}
    deployment = file(config_of(networks=slurm, results=slurm))
    launchers = of_groups(config_of(results={"local": {}}, tables={"slurm": {}}), deployment)
    kinds = {group: launcher.kind for group, launcher in launchers.items()}
    assert kinds == dict(zip(GROUPS, ("local", "slurm", "local", "slurm"), strict=True))
    assert launchers["networks"] == SlurmLauncher(partition="gpu", hosts=2)
    assert launchers["tables"] == SlurmLauncher()


WRONG = {
    "group": (config_of(trainings={"slurm": {}}), r"trainings.*'data', 'networks', 'results' or"),
    "kind": (config_of(networks={"pbs": {}}), "networks: Input tag 'pbs' .*'slurm'"),
    "no kind": (config_of(networks="local"), "networks: .*such as {local: {}}"),
    "key": (config_of(networks={"slurm": {"partitions": "gpu"}}), r"networks\.slurm\.partitions: "),
    "value": (
        config_of(networks={"slurm": {"hosts": 0}}),
        r"networks\.slurm\.hosts: .*than or equal",
    ),
    "no image": (
        config_of(data={"kubernetes": {"gpus": 1}}),
        r"data\.kubernetes\.image: .*name the image",
    ),
    "memory": (config_of(data={"slurm": {"memory": "lots"}}), r"data\.slurm\.memory: .*'lots'"),
    "empty": ("", "must hold `resources:"),
    "more": (config_of() | {"ops": {}}, "nothing else"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_refused_in_one_sentence(file, wrong):
    content, message = WRONG[wrong]
    with pytest.raises(
        UserError, match=rf"PAHA_LAUNCHERS=.*launchers\.yaml.*\s.*{message}"
    ) as error:
        launchers_of(str(file(content)))
    assert len(str(error.value).splitlines()) <= 2


REFUSED = {
    "slurm.memory": ("lots", "64 G", "1.5G"),
    "slurm.time_limit": ("a day", "1-", "1:2:3:4"),
    "kubernetes.memory": ("lots", "64GB", "64gi"),
    "kubernetes.cpu": ("many", "-1"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_schedulers_words_are_checked_before_the_run_is_made(key):
    kind, name = key.split(".")
    for value in REFUSED[key]:
        settings = {name: value} | ({"image": "paha"} if kind == "kubernetes" else {})
        with pytest.raises(dg.DagsterInvalidConfigError, match=rf"networks\.{key}: .*{value}"):
            of_groups(config_of(networks={kind: settings}))


def test_the_schedulers_own_forms_pass():
    for memory in ("64G", "64000", "400GB", "1t"):
        SlurmLauncher(memory=memory)
    for memory in ("64Gi", "1.5G", "64000", "1e9", ".5Ti"):
        of_groups(config_of(data={"kubernetes": {"image": "paha", "memory": memory}}))


def test_a_time_limit_is_longer_than_the_grace(tmp_path):
    seconds = {
        "": 0, "0": 0, "90": 5400, "90:30": 5430, "12:00:00": 43200, "1-12": 129600,
        "1-12:30": 131400, "1-00:00:01": 86401,
    }  # fmt: skip
    assert {each: SlurmLauncher(time_limit=each).limit_seconds for each in seconds} == seconds
    done = dg.materialize(  # the smoke preset's grace is ten minutes; it fails at the first stage
        [ASSETS["clips"]],
        resources={
            "workspace": dg.ResourceDefinition.hardcoded_resource(
                Workspace("smoke", str(tmp_path / "store"))
            ),
            "launchers": launchers_of(None),
        },
        run_config=config_of(networks={"slurm": {"time_limit": "10"}}),
        partition_key="cnas",
        raise_on_error=False,
    )
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    assert "networks.slurm.time_limit 10 must be longer" in failed.step_failure_data.error.message
