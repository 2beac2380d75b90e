"""The HTTP API (`paha serve`): submit a portrait and a voice, watch, fetch, cancel.

curl -F image=@me.jpg -F audio=@hello.wav http://127.0.0.1:8000/v1/videos
curl http://127.0.0.1:8000/v1/videos/ID
curl -o hello.mp4 http://127.0.0.1:8000/v1/videos/ID/result
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from paha_core.inference.inputs import InputError, read_picture
from paha_core.inference.pipeline import PahaPipeline
from paha_core.serve.bodies import AUDIO, BODY, IMAGE, REFUSALS, VideoSettings, store_body
from paha_core.serve.jobs import FINISHED, Job, Jobs, JobState, QueueFull
from paha_core.serve.limits import Guard, Limits
from paha_core.serve.live import HLS_TYPE, PLAYLIST, STREAM, growing
from paha_core.serve.page import add_page
from paha_core.serve.worker import Worker

JobId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class Video(BaseModel):
    """A video with its state and progress."""

    id: str
    state: JobState
    ahead: int = Field(description="videos that are generated before this one")
    segments_done: int
    segments_total: int
    message: str = Field(description="why there is no video, or a note on it")
    created: float
    started: float | None
    finished: float | None
    settings: VideoSettings


class ServerMetrics:
    """The metrics at `/metrics`, in this application's own registry."""

    def __init__(self, jobs: Jobs) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter("paha_videos_accepted", "Videos accepted", registry=self.registry)
        self.refused = Counter(
            "paha_videos_refused", "Videos refused because the queue was full",
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "paha_generation_seconds", "Seconds of a generated video's computation", ["mode"],
            registry=self.registry, buckets=(1, 3, 10, 30, 60, 120, 300, 600, 1800),
        )  # fmt: skip
        states = Gauge("paha_videos", "Videos by state", ["state"], registry=self.registry)
        for state in get_args(JobState):
            states.labels(state).set_function(partial(_count, jobs, state))


def _count(jobs: Jobs, state: JobState) -> float:
    return jobs.counts().get(state, 0)


def create_app(
    pipeline: PahaPipeline, folder: Path, limits: Limits, token: str = "", page: bool = False
) -> FastAPI:
    """The application. `folder` holds the queue and the videos, and survives a restart. With `page`
    it also shows a page, which lists all videos to everybody who can reach it."""
    jobs = Jobs(folder, limits.capacity)
    metrics = ServerMetrics(jobs)
    worker = Worker(
        pipeline,
        jobs,
        max_seconds=limits.seconds,
        keep_seconds=limits.keep_hours * 3600,
        on_done=lambda mode, seconds: metrics.seconds.labels(mode).observe(seconds),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await run_in_threadpool(worker.stop)

    app = FastAPI(title="PAHA", version="1", lifespan=lifespan)
    app.add_middleware(Guard, limits=limits, token=token)

    def found(job_id: str) -> Job:
        job = jobs.get(job_id)
        if job is None:
            raise HTTPException(404, "no such video, or it has expired")
        return job

    def shown(job: Job) -> Video:
        return Video(
            id=job["id"],
            state=job["state"],
            ahead=jobs.ahead_of(job) if job["state"] == "queued" else 0,
            segments_done=job["done"],
            segments_total=job["total"],
            message=job["message"],
            created=job["created"],
            started=job["started"],
            finished=job["finished"],
            settings=VideoSettings(**job["settings"]),
        )

    async def queued(fill: Callable[[Path], Awaitable[VideoSettings]]) -> Video:
        """Queue what `fill` writes into a new job's folder; nothing is left of what is refused."""
        if not jobs.has_room():
            metrics.refused.inc()
            raise _full(jobs)
        job_id = jobs.new_id()
        place = jobs.place(job_id)
        try:
            settings = await fill(place)
            if settings.adapter and settings.adapter not in pipeline.adapters:
                there = ", ".join(pipeline.adapters) or "none"
                raise HTTPException(422, f"no adapter {settings.adapter} here: there is {there}")
            await run_in_threadpool(read_picture, place / IMAGE)
            job = jobs.submit(job_id, IMAGE, AUDIO, settings.model_dump(exclude_none=True))
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, QueueFull):
                metrics.refused.inc()
                raise _full(jobs) from error
            if isinstance(error, FileNotFoundError):
                raise HTTPException(404, "its portrait and voice are not kept any more") from error
            if isinstance(error, InputError):
                reason = str(error).replace(f"{place}/", "")
                raise HTTPException(422, reason) from error
            raise
        metrics.accepted.inc()
        worker.notify()
        return shown(job)

    @app.post("/v1/videos", status_code=202, response_model=Video, openapi_extra=BODY,
              responses=REFUSALS)  # fmt: skip
    async def submit(request: Request, response: Response) -> Video:
        """Queue a video of the portrait `image` speaking `audio`, or `text` in a synthetic voice:
        multipart, or JSON in base64."""
        video = await queued(lambda place: store_body(request, place))
        response.headers["Location"] = f"/v1/videos/{video.id}"
        return video

    @app.post("/v1/videos/{job_id}/again", status_code=202, responses=_UNKNOWN | REFUSALS)
    async def again(job_id: JobId, settings: VideoSettings, response: Response) -> Video:
        """Queue another video of the same portrait and voice."""
        source = jobs.place(found(job_id)["id"])

        async def copied(place: Path) -> VideoSettings:
            place.mkdir(parents=True)
            for name in (IMAGE, AUDIO):
                await run_in_threadpool(shutil.copyfile, source / name, place / name)
            return settings

        video = await queued(copied)
        response.headers["Location"] = f"/v1/videos/{video.id}"
        return video

    @app.get("/v1/videos/{job_id}", responses=_UNKNOWN)
    def status(job_id: JobId) -> Video:
        """The state and progress of a video."""
        return shown(found(job_id))

    @app.get("/v1/videos/{job_id}/events", responses=_UNKNOWN)
    async def events(job_id: JobId, request: Request) -> StreamingResponse:
        """Server-sent events: the video's state whenever it changes, until it is finished."""
        found(job_id)

        async def changes() -> AsyncIterator[str]:
            last = ""
            while not await request.is_disconnected():
                job = await run_in_threadpool(jobs.get, job_id)
                if job is None:
                    return
                text = (await run_in_threadpool(shown, job)).model_dump_json()
                if text != last:
                    yield f"data: {text}\n\n"
                    last = text
                if job["state"] in FINISHED:
                    return
                await asyncio.sleep(0.25)

        return StreamingResponse(changes(), media_type="text/event-stream")

    def file_of(job_id: str, name: str, media_type: str) -> FileResponse:
        job = found(job_id)
        if job["state"] != "done":
            raise HTTPException(409, f"the video is {job['state']}")
        return FileResponse(jobs.place(job_id) / name, media_type=media_type, filename=name)

    @app.get("/v1/videos/{job_id}/result", response_class=FileResponse,
             responses=_UNKNOWN | _NOT_DONE)  # fmt: skip
    def result(job_id: JobId) -> FileResponse:
        """The mp4."""
        return file_of(job_id, "video.mp4", "video/mp4")

    @app.get("/v1/videos/{job_id}/stream", responses=_UNKNOWN)
    def stream(job_id: JobId) -> StreamingResponse:
        """The mp4 while it is generated, in fragments, until it is finished."""
        found(job_id)

        def is_finished() -> bool:
            job = jobs.get(job_id)
            return job is None or job["state"] in FINISHED

        grows = growing(jobs.place(job_id) / STREAM, is_finished)
        return StreamingResponse(grows, media_type="video/mp4")

    def live_file(job_id: str, name: str, media_type: str) -> FileResponse:
        job, path = found(job_id), jobs.place(job_id) / name
        if not path.is_file():
            raise HTTPException(409, f"the video is {job['state']}")
        return FileResponse(path, media_type=media_type)

    @app.get("/v1/videos/{job_id}/stream.m3u8", response_class=FileResponse,
             responses=_UNKNOWN | _NOT_DONE)  # fmt: skip
    def playlist(job_id: JobId) -> FileResponse:
        """The same for HLS: a playlist that grows with the video."""
        return live_file(job_id, PLAYLIST, HLS_TYPE)

    @app.get("/v1/videos/{job_id}/stream.mp4", response_class=FileResponse,
             responses=_UNKNOWN | _NOT_DONE)  # fmt: skip
    def stream_file(job_id: JobId) -> FileResponse:
        """What there is of the stream; the playlist names ranges of its bytes."""
        return live_file(job_id, STREAM, "video/mp4")

    @app.get("/v1/videos/{job_id}/sidecar", responses=_UNKNOWN | _NOT_DONE)
    def sidecar(job_id: JobId) -> dict[str, Any]:
        """Everything the video was made from, without paths of this machine."""
        file_of(job_id, "video.json", "application/json")
        content = json.loads((jobs.place(job_id) / "video.json").read_text())
        for name in ("image", "audio"):
            content["request"][name].pop("path")
        for adapter in content["adapters"]:
            adapter.pop("path")
        content.pop("source")
        return dict(content)

    @app.delete("/v1/videos/{job_id}", status_code=204, responses=_UNKNOWN)
    def remove(job_id: JobId) -> None:
        """Cancel a video that waits or is being generated; delete one that is finished."""
        job = found(job_id)
        jobs.cancel(job_id)
        if job["state"] != "running":
            shutil.rmtree(jobs.place(job_id), ignore_errors=True)
        if job["state"] in FINISHED:
            jobs.forget(job_id)

    if page:
        add_page(app, pipeline)

        @app.get("/v1/videos")
        def videos() -> list[Video]:
            """All videos, the newest first."""
            return [shown(job) for job in jobs.newest()]

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such video"}}
_NOT_DONE: dict[int | str, dict[str, Any]] = {409: {"description": "It is not done"}}


def _full(jobs: Jobs) -> HTTPException:
    return HTTPException(429, f"{jobs.capacity} videos are waiting", headers={"Retry-After": "30"})
