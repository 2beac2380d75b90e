"""A stand-in for Kubernetes' API server that really runs a Job's pods, as processes here.

It knows what the launcher asks for: Jobs, their pods and logs, services; foreground deletion.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

API = re.compile(r"/(?:api|apis/batch)/v1/namespaces/(\w+)/(\w+)(?:/([\w.-]+))?(?:/(\w+))?")


class Pod:
    def __init__(self, job, index, folder):
        self.name, self.job = f"{job['metadata']['name']}-{index}-abcde", job
        self.container = job["spec"]["template"]["spec"]["containers"][0]
        self.log = folder / f"{self.name}.log"
        environment = dict(os.environ)
        for variable in self.container["env"]:
            # the only field that is asked for; the service's name is this machine
            value = variable.get("value", str(index))
            environment[variable["name"]] = (
                "127.0.0.1" if variable["name"] == "MASTER_ADDR" else value
            )
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.container["command"], env=environment, stdout=log, stderr=log
            )

    def as_dict(self):
        code = self.process.poll()
        state = {"running": {}}
        if code is not None:
            code = 128 - code if code < 0 else code
            state = {"terminated": {"exitCode": code}}
        status = {"name": "stage", "image": "", "imageID": "", "ready": True, "restartCount": 0}
        return {
            "metadata": {"name": self.name},
            "status": {"containerStatuses": [status | {"state": state}]},
        }


class Server:
    """`bodies`: what was created, in order. `namespace`: the only one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bodies = folder, []
        self.jobs: dict[str, dict] = {}
        self.pods: dict[str, list[Pod]] = {}
        self.deleted: set[str] = set()

    def answer(self, method, path, query, body):
        """Status and content."""
        kind, name, part = API.fullmatch(path).groups()[1:]
        if method == "POST":
            self.bodies.append(body)
            if kind == "jobs":
                name = body["metadata"]["name"]
                self.jobs[name] = body
                hosts = range(body["spec"]["completions"])
                self.pods[name] = [Pod(body, index, self.folder) for index in hosts]
            return 201, body
        if kind == "pods" and part == "log":
            (pod,) = (p for pods in self.pods.values() for p in pods if p.name == name)
            return 200, pod.log.read_text()
        if kind == "pods":
            job = re.search(r"job-name(?:=|%3D)([\w-]+)", query)[1]
            found = self.pods.get(job, [])
            return 200, {"items": [pod.as_dict() for pod in found]}
        if kind == "services" or name not in self.jobs:
            return (200 if kind == "services" else 404), {"kind": "Status"}
        if method == "DELETE":
            self.deleted.add(name)
            for pod in self.pods[name]:
                pod.process.send_signal(signal.SIGTERM)
        codes = [pod.process.poll() for pod in self.pods[name]]
        if name in self.deleted and None not in codes:
            del self.jobs[name]
            return 404, {"kind": "Status"}
        return 200, self.jobs[name] | {"status": status_of(codes)}


def status_of(codes):
    if any(codes):
        return {"conditions": [{"type": "Failed", "status": "True"}]}
    if codes.count(0) == len(codes):
        return {"conditions": [{"type": "Complete", "status": "True"}]}
    return {"active": codes.count(None)}


@contextmanager
def kube_server(folder: Path):
    """The server and a kubectl configuration for it: (server, path)."""
    server = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        def respond(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            path, _, query = self.path.partition("?")
            status, content = server.answer(self.command, path, query, body)
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            kind = "text/plain" if isinstance(content, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = respond

        def log_message(self, *_):
            """Silent."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{httpd.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "none"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield server, path
    finally:
        httpd.shutdown()
        for pods in server.pods.values():
            for pod in pods:
                if pod.process.poll() is None:
                    pod.process.kill()
                pod.process.wait()
