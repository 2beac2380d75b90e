"""Stages as jobs of a cluster: stand-ins for Slurm and Kubernetes that really run the processes,
and Ray, where it is installed, with two nodes on this host."""

import json
import os
import sys
import time

import pytest
from ray_cluster import ROOT, ray_cluster
from stage_process import materialize_univdm, write_script

import slurm_commands
from assets import process
from assets.launchers import cluster as clusters
from assets.launchers import remote
from assets.launchers.cluster import ClusterJob, run_on_cluster
from assets.launchers.kubernetes import Kubernetes, KubernetesLauncher, job_manifest, service
from assets.launchers.ray_jobs import Ray, RayLauncher
from assets.launchers.slurm import Slurm, SlurmLauncher
from kube_server import kube_server
from paha_core.errors import UserError
from paha_core.stages import Workspace
from paha_core.store import Store

CHILD = """
import os, signal, sys, time
from contextlib import nullcontext
from dagster_pipes import open_dagster_pipes
from assets.launchers.remote import StoreContextLoader, StoreMessageWriter, workspace_of_job
rank, first = os.environ["RANK"], os.environ["RANK"] == "0"
through_store = {{"context_loader": StoreContextLoader(), "message_writer": StoreMessageWriter()}}
with (
    workspace_of_job() as workspace,
    open_dagster_pipes(**through_store) if first else nullcontext() as pipes,
):
    store, stage = workspace.store, sys.argv[1]
    def report(**values):
        if first:
            pipes.report_custom_message({{"report": {{"stage": stage}} | values}})
    {body}
"""


@pytest.fixture(scope="module")
def ray_dashboard():
    with ray_cluster() as (_, dashboard):
        yield dashboard


@pytest.fixture(params=["slurm", "kubernetes", "ray"])
def cluster(request, tmp_path, monkeypatch):
    """Makes a client; its hosts are this machine."""
    monkeypatch.setattr(clusters, "POLL", 0.2)
    monkeypatch.setattr(process, "RESUME_AFTER", 0.1)
    monkeypatch.setattr(remote, "INTERVAL", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    if request.param == "slurm":
        if "SLURM_CONF" not in os.environ:  # else the real one, as on the machine it was tried on
            slurm_commands.install(tmp_path, monkeypatch)

        def slurm(hosts=1):
            return Slurm(SlurmLauncher(hosts=hosts, folder=str(tmp_path / "jobs")))

        yield slurm
        return
    if request.param == "ray":
        dashboard = request.getfixturevalue("ray_dashboard")

        def ray(hosts=1):
            here = {"working_dir": str(ROOT), "python": sys.executable}
            return Ray(RayLauncher(address=dashboard, hosts=hosts, **here))

        yield ray
        return
    with kube_server(tmp_path) as (_, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        import kubernetes

        monkeypatch.setattr(
            kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config)
        )

        def kube(hosts=1):
            return Kubernetes(KubernetesLauncher(image="paha", hosts=hosts, python=sys.executable))

        yield kube


@pytest.fixture
def run_stage(tmp_path):
    """Runs `body` as the stage `univdm` on a cluster: its report or None, and the failure."""

    def run(client, body: str, preset: str = "smoke"):
        script = tmp_path / "child.py"
        write_script(script, CHILD, body)
        workspace = Workspace(preset, str(tmp_path / "store"))
        report, failure, _ = materialize_univdm(
            lambda context: run_on_cluster(
                context, workspace, "univdm", client, None, (str(script),)
            )
        )
        return report, failure

    return run


def test_report_and_log_come_back_from_each_of_two_hosts(cluster, run_stage, tmp_path, capfd):
    report, failure = run_stage(
        cluster(hosts=2),
        """
        world = [os.environ[n] for n in ("WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")]
        store.write_json(f"rank{rank}.json", [*world, workspace.preset.name])
        print(f"host {rank} is here")
        report(kept=3)
        """,
    )
    assert failure == ""
    assert (report.stage, report.kept) == ("univdm", 3)
    store = Store(str(tmp_path / "store"))
    assert [store.read_json(f"rank{n}.json") for n in (0, 1)] == [
        ["2", "0", "0", "smoke"],
        ["2", "1", "0", "smoke"],
    ]
    printed = capfd.readouterr().out
    assert "host 0 is here" in printed
    assert "host 1 is here" in printed
    assert store.versions("launches/") == {}  # nothing is left behind


def test_a_stage_that_saved_itself_is_submitted_again(cluster, run_stage):
    report, failure = run_stage(
        cluster(),
        """
        if not store.exists("saved"):
            store.write_bytes("saved", b"")
            os._exit(75)
        report(computed=1)
        """,
    )
    assert failure == ""
    assert report.computed == 1


def test_its_own_sentence_is_the_failure(cluster, run_stage):
    _, failure = run_stage(
        cluster(),
        """
        pipes.report_custom_message({"error": "the shards are torn"})
        sys.exit(1)
        """,
    )
    assert "the shards are torn" in failure


def test_a_cancel_reaches_every_process_and_waits_for_its_checkpoint(
    cluster, run_stage, tmp_path, monkeypatch
):
    store = Store(str(tmp_path / "store"))

    def cancel_when_both_run(context, session):
        if len(store.glob("running*")) == 2:
            raise KeyboardInterrupt("cancelled")

    monkeypatch.setattr(clusters, "observe", cancel_when_both_run)
    monkeypatch.setattr(clusters, "OBSERVE_EVERY", 0.0)
    _, failure = run_stage(
        cluster(hosts=2),
        """
        def save(*_):
            time.sleep(0.5)
            store.write_bytes(f"saved{rank}", b"")
            os._exit(75)
        signal.signal(signal.SIGTERM, save)
        store.write_bytes(f"running{rank}", b"")
        time.sleep(600)
        """,
    )
    assert "cancelled" in failure
    assert store.glob("saved*") == ["saved0", "saved1"]
    assert store.versions("launches/") == {}


def test_the_job_of_a_run_that_was_killed_is_ended(cluster, run_stage, tmp_path):
    store, client = Store(str(tmp_path / "store")), cluster()
    touch = f"from pathlib import Path; Path({str(tmp_path / 'orphan')!r}).touch()"
    orphan = client.submit(
        ClusterJob("paha-orphan", [sys.executable, "-c", f"{touch}; import time; time.sleep(600)"])
    )
    while not (tmp_path / "orphan").exists():
        time.sleep(0.1)
    store.write_json("launches/univdm.json", {"job": orphan, "run": "of a killed process"})
    report, failure = run_stage(client, "report()")
    assert failure == ""
    assert report is not None
    assert client.exit_code(orphan) is not None


def test_a_host_that_sees_another_store_says_so(cluster, run_stage, monkeypatch):
    monkeypatch.setattr(clusters, "PRESET", "elsewhere.yaml")
    _, failure = run_stage(cluster(), "report()")
    assert "must be shared by all hosts" in failure


def test_sbatch_gets_what_the_config_says(tmp_path, monkeypatch):
    home = slurm_commands.install(tmp_path, monkeypatch)
    settings = SlurmLauncher(
        partition="gpu", hosts=2, gpus=8, cpus=32, memory="64G", time_limit="1-00:00:00",
        options=["--account=lab"], setup="export FOO='a b'", folder=str(tmp_path / "jobs"),
    )  # fmt: skip
    client = Slurm(settings)
    job = client.submit(
        ClusterJob("paha-x", ["bash", "-c", 'echo "$FOO, $NODE_RANK of $NNODES"'], {}, 2)
    )
    while client.exit_code(job) is None:
        time.sleep(0.05)
    assert client.exit_code(job) == 0
    assert sorted(client.new_log(job).splitlines()) == ["a b, 0 of 2", "a b, 1 of 2"]
    options = json.loads((home / f"{job}.options").read_text())
    assert options == {
        "job-name": "paha-x", "output": str(tmp_path / "jobs/paha-x.log"), "nodes": "2",
        "ntasks-per-node": "1", "partition": "gpu", "gpus-per-node": "8", "cpus-per-task": "32",
        "mem": "64G", "time": "1-00:00:00", "signal": "TERM@60", "account": "lab",
    }  # fmt: skip


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="run Dagster where Slurm's commands are"):
        Slurm(SlurmLauncher(folder=str(tmp_path))).submit(ClusterJob("x", ["true"]))


@pytest.mark.parametrize("hosts", [1, 2])
def test_manifests_are_what_kubernetes_takes(hosts):
    validate = pytest.importorskip("kubernetes_validate").validate
    settings = KubernetesLauncher(
        image="registry.example/paha:1", hosts=hosts, gpus=1, cpu="8", memory="64Gi",
        node_selector={"gpu": "h200"}, service_account="paha", secrets=["store"],
        pod={
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
            "containers": [
                {"name": "stage", "volumeMounts": [{"name": "runs", "mountPath": "/app/runs"}]}
            ],
        },
    )  # fmt: skip
    job = ClusterJob(
        "paha-univdm-1a2b3c4d", ["python", "-m", "x"], {"PAHA_STORE": "s3://b/r"}, hosts
    )
    manifest = job_manifest(settings, job)
    for each in (manifest, service(job)):
        validate(each, "1.30", strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["shm", "runs"]
    (container,) = pod["containers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["shm", "runs"]
    assert container["resources"]["limits"] == {
        "cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"
    }  # fmt: skip
