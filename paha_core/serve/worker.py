"""The thread that generates what waits in the queue."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping

from paha_core.errors import EXPECTED
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.portraits import unfamiliar
from paha_core.inference.video_file import Request, make_video
from paha_core.serve.jobs import Job, Jobs
from paha_core.serve.live import LiveFiles

log = logging.getLogger(__name__)
LAMBDAS = ("lambda_face", "lambda_non_face", "lambda_diff")


class Cancelled(Exception):
    """The user cancelled the job, or the server is being shut down."""


class Worker:
    """Generates one job after the other until `stop`; finished jobs expire after `keep_seconds`.

    `on_done(mode, seconds)` is called for each video that was generated.
    """

    def __init__(
        self,
        pipeline: PahaPipeline,
        jobs: Jobs,
        *,
        max_seconds: float,
        keep_seconds: float,
        on_done: Callable[[str, float], None] = lambda mode, seconds: None,
    ) -> None:
        self.pipeline, self.jobs = pipeline, jobs
        self.max_seconds, self.keep_seconds, self.on_done = max_seconds, keep_seconds, on_done
        self.scales = {name: one.scale for name, one in pipeline.adapters.items()}
        self._stopping, self._work = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        if count := self.jobs.recover():
            log.info("%d videos that an earlier process had begun are queued again", count)
        self._thread.start()

    def notify(self) -> None:
        """A job was added."""
        self._work.set()

    def stop(self, timeout: float = 60.0) -> None:
        """End before the next sampling step; the job goes back into the queue."""
        self._stopping.set()
        self._work.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._expire()
            job = self.jobs.take()
            if job is None:
                self._work.wait(5.0)
                self._work.clear()
            else:
                self._generate(job)

    def _generate(self, job: Job) -> None:
        folder, started = self.jobs.place(job["id"]), time.monotonic()

        def on_segment(done: int, total: int) -> None:
            self.jobs.progress(job["id"], done, total)

        def on_step() -> None:
            if self._stopping.is_set() or self._is_cancelled(job):
                raise Cancelled

        try:
            self.pipeline.set_adapters(adapters_of(job, self.scales))
            settings = settings_of(job, self.pipeline, self.max_seconds)
            request = Request(
                folder / job["image"], folder / job["audio"], folder / "video.mp4", settings
            )
            note = unfamiliar(self.pipeline, request.image, settings.letterbox)
            with LiveFiles(self.pipeline, request) as live:
                make_video(self.pipeline, request, on_segment, live.add, on_step)
        except Cancelled:
            if self._is_cancelled(job):
                self.jobs.finish(job["id"], "cancelled")
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self.jobs.requeue(job["id"])
        except EXPECTED as error:
            # A path in the message would reveal the server's folders to a client.
            self.jobs.finish(job["id"], "failed", str(error).replace(f"{folder}/", ""))
        except Exception:
            log.exception("job %s failed", job["id"])
            self.jobs.finish(job["id"], "failed", "an error inside the server; its log has it")
        else:
            self.jobs.finish(job["id"], "done", note)
            self.on_done(settings.mode, time.monotonic() - started)

    def _is_cancelled(self, job: Job) -> bool:
        now = self.jobs.get(job["id"])
        return now is None or now["state"] == "cancelling"

    def _expire(self) -> None:
        for job_id in self.jobs.expired(time.time() - self.keep_seconds):
            shutil.rmtree(self.jobs.place(job_id), ignore_errors=True)
            self.jobs.forget(job_id)


def adapters_of(job: Job, scales: Mapping[str, float]) -> dict[str, float]:
    """The adapter that the job asks for, at the scale the server was started with."""
    name = job["settings"].get("adapter", "")
    return {name: scales.get(name, 1.0)} if name else {}


def settings_of(job: Job, pipeline: PahaPipeline, max_seconds: float) -> Settings:
    """The job's settings; a longer voice than `max_seconds` is cut."""
    values = dict(job["settings"])
    strength, _ = values.pop("strength", 1.0), values.pop("adapter", "")
    guidance = pipeline.preset.generation.guidance
    changed = {name: getattr(guidance, name) * strength for name in LAMBDAS}
    return Settings(**values, max_seconds=max_seconds, guidance=guidance.changed(**changed))
