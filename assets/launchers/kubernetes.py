"""Jobs of Kubernetes, by its API: an Indexed Job of one pod a host, and a service that names them.

`PipesK8sClient` of dagster-k8s runs one pod, drops its exit code and deletes it at a cancel without
waiting for the checkpoint; so this client uses the API itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import Field, field_validator

from assets.launchers.cluster import LOST, ClusterJob
from paha_core.engine.processes import INTERRUPTED
from paha_core.errors import UserError

PORT = 29400  # port of the first pod, the rendezvous of the processes
QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
KEPT = 24 * 3600  # seconds for which a finished job of a killed run is kept for inspection


class KubernetesLauncher(dg.Config, extra="forbid"):
    """Stages of this group are Jobs of Kubernetes."""

    kind: Literal["kubernetes"] = "kubernetes"
    image: str = Field(description="of this project (docker/Dockerfile)")
    namespace: str = "default"
    hosts: int = Field(1, ge=1, description="of each training that can be shared (torchrun)")
    gpus: int = Field(0, ge=0, description="of each pod (nvidia.com/gpu)")
    cpu: str = Field("", description="of each pod, such as 8")
    memory: str = Field("", description="of each pod, such as 64Gi")
    node_selector: dict[str, str] = Field({}, description="labels of the nodes")
    service_account: str = Field("", description="the usual place of the store's credentials")
    secrets: list[str] = Field([], description="whose keys become environment variables")
    environment: dict[str, str] = Field({}, description="more variables of its processes")
    pod: dict[str, Any | None] = Field(
        {}, description="laid over the pod's spec: volumes, tolerations, imagePullSecrets"
    )
    python: str = Field("python", description="of the image")
    resumes: int = Field(100, ge=0, description="how often an interrupted stage is submitted again")

    @field_validator("image", mode="before")
    @classmethod
    def _image(cls, value: Any) -> Any:
        if not value:  # Dagster passes None for a missing one
            raise ValueError("name the image of this project (docker/Dockerfile)")
        return value

    @field_validator("cpu", "memory")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and not QUANTITY.fullmatch(value):
            raise ValueError(f"{value!r} is not a quantity of Kubernetes', such as 8, 500m or 64Gi")
        return value


class Kubernetes:
    """A `Cluster` for the settings of a `KubernetesLauncher`; inside a cluster by the pod's own
    account, elsewhere by kubectl's configuration."""

    def __init__(self, settings: KubernetesLauncher) -> None:
        try:
            import kubernetes
            import urllib3
        except ImportError:
            raise UserError(
                "the kubernetes launcher needs its client: pip install 'paha[kubernetes]'"
            ) from None
        try:
            kubernetes.config.load_config()
        except kubernetes.config.ConfigException as error:
            raise UserError(f"no Kubernetes cluster is configured: {error}") from None
        self.settings, self.python = settings, settings.python
        self.jobs, self.pods = kubernetes.client.BatchV1Api(), kubernetes.client.CoreV1Api()
        self.refused, self.silent = kubernetes.client.ApiException, urllib3.exceptions.HTTPError
        self.read: dict[str, int] = {}  # lines of each pod's log

    def submit(self, job: ClusterJob) -> str:
        try:
            if job.hosts > 1:
                self.pods.create_namespaced_service(self.settings.namespace, service(job))
            manifest = job_manifest(self.settings, job)
            self.jobs.create_namespaced_job(self.settings.namespace, manifest)
        except self.refused as error:
            raise UserError(f"Kubernetes refuses the job: {error.reason}: {error.body}") from None
        return job.name

    def exit_code(self, job: str) -> int | None:
        """The highest exit code of several pods; a pod that lost its node can be resumed."""
        try:
            status = self.jobs.read_namespaced_job(job, self.settings.namespace).status
        except self.silent:  # the server does not answer; the job may well run
            return None
        except self.refused as error:
            if error.status == 404:
                return LOST
            if error.status == 429 or error.status >= 500:
                return None
            raise
        ended = {c.type for c in status.conditions or [] if c.status == "True"}
        if status.active or not ended & {"Complete", "Failed"}:
            return None
        if "Complete" in ended:
            return 0
        return max((code for pod in self._pods(job) if (code := _exit_code(pod))), default=LOST)

    def cancel(self, job: str) -> None:
        """Each pod gets SIGTERM and the grace of its spec; the job is gone when they are."""
        self._delete(self.jobs.delete_namespaced_job, job, "Foreground")

    def kill(self, job: str) -> None:
        for delete in (self.jobs.delete_namespaced_job, self.pods.delete_namespaced_service):
            self._delete(delete, job, "Background")

    def _delete(self, delete: Callable[..., object], name: str, policy: str) -> None:
        """What is gone already is deleted: the answer to a first request may have been lost."""
        try:
            delete(name, self.settings.namespace, propagation_policy=policy)
        except self.refused as error:
            if error.status != 404:
                raise

    def new_log(self, job: str) -> str:
        texts: list[str] = []
        try:
            pods = self._pods(job)
        except (self.refused, self.silent):
            return ""
        for pod in pods:
            name = pod.metadata.name
            try:
                log = self.pods.read_namespaced_pod_log(name, self.settings.namespace)
            except (self.refused, self.silent):  # not started yet, gone, or no answer
                continue
            lines = log.splitlines(keepends=True)
            texts += lines[self.read.get(name, 0) :]
            self.read[name] = len(lines)
        return "".join(texts)

    def _pods(self, job: str) -> list[Any]:
        selector = f"job-name={job}"
        found = self.pods.list_namespaced_pod(self.settings.namespace, label_selector=selector)
        return sorted(found.items, key=lambda pod: str(pod.metadata.name))


def _exit_code(pod: Any) -> int | None:
    """A pod's exit code; a pod that was evicted or lost its node counts as interrupted."""
    if any(each.type == "DisruptionTarget" for each in pod.status.conditions or []):
        return INTERRUPTED
    states = [container.state for container in pod.status.container_statuses or []]
    return next((state.terminated.exit_code for state in states if state.terminated), None)


def service(job: ClusterJob) -> dict[str, Any]:
    """A service that gives the pods of a job on several hosts names: `<job>-0.<job>`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": job.name},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"job-name": job.name},
            "ports": [{"port": PORT}],
        },
    }


def job_manifest(settings: KubernetesLauncher, job: ClusterJob) -> dict[str, Any]:
    """The Job: no retries of its own, since a stage that can be resumed is a new job."""
    variables: list[dict[str, Any]] = [
        {"name": name, "value": value}
        for name, value in (settings.environment | job.environment).items()
    ]
    if job.hosts > 1:
        index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        variables += [
            {"name": "NNODES", "value": str(job.hosts)},
            {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}},
            {"name": "MASTER_ADDR", "value": f"{job.name}-0.{job.name}"},
            {"name": "MASTER_PORT", "value": str(PORT)},
        ]
    wanted = {"cpu": settings.cpu, "memory": settings.memory}
    wanted["nvidia.com/gpu"] = str(settings.gpus or "")
    resources = {name: value for name, value in wanted.items() if value}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(job.grace),
        "containers": [
            {
                "name": "stage",
                "image": settings.image,
                "command": list(job.command),
                "env": variables,
                "envFrom": [{"secretRef": {"name": name}} for name in settings.secrets],
                "resources": {"requests": resources, "limits": resources},
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
        # data-loading processes pass tensors through it, and a container's own has 64 MB
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    if job.hosts > 1:
        pod["subdomain"] = job.name
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.name, "labels": {"app.kubernetes.io/name": "paha"}},
        "spec": {
            "completions": job.hosts,
            "parallelism": job.hosts,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "paha"}},
                "spec": laid_over(pod, settings.pod),
            },
        },
    }


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge; a list of named things (containers, volumes) merges by name; all else is
    replaced."""
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping):
            result[key] = laid_over(old, change)
        elif isinstance(old, list) and isinstance(change, list):
            named = {each.get("name"): each for each in old}
            for each in change:
                named[each.get("name")] = laid_over(named.get(each.get("name"), {}), each)
            result[key] = list(named.values())
        else:
            result[key] = change
    return result
