"""Long video from a trained run: colour drift, seams and memory, for chained segments (unguided,
SG, DG) and for earlier methods' average of overlapping windows.

    python benchmarks/long_video.py --store runs/demo --preset demo [--seconds 60]
    paha report --preset demo      # shows the numbers

Without a picture and a voice of your own, a held-out clip's picture speaks the held-out clips'
sound, one after the other and again from the start. Seams: optical-flow magnitude where one segment
(or window) takes over, beside the flow everywhere else. Each case runs in a process of its own, for
its memory.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from pydantic import TypeAdapter

from paha_core.benchmark.report.facts import LONG_VIDEO
from paha_core.config import Mode, load_preset
from paha_core.inference.held_out_clips import conditions_of, select_clips
from paha_core.inference.pipeline import PahaPipeline, Settings, window_view
from paha_core.inference.sampling import Conditions
from paha_core.inference.sliding_window import window_starts
from paha_core.inference.trace import Trace
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME
from paha_core.store import Store

CASES = ("chain unguided", "chain sequential", "chain differential", "sliding_window unguided")
FLOW_SIZE = 256
SECOND = 25  # frames


def conditions_for(
    pipeline: PahaPipeline, args: argparse.Namespace
) -> tuple[Conditions, np.ndarray]:
    """A batch of one of `seconds`, and the reference's face box."""
    frames = round(args.seconds * SECOND)
    if args.image:
        how = Settings(max_seconds=args.seconds)
        conditions, box, _ = pipeline.conditions(args.image, args.audio, how)
        return conditions, box[None]
    clips = select_clips(Store(args.store), pipeline.preset)
    clip = clips[0]
    voices = [c.sample.wave for c in clips if c.row["dataset"] == clip.row["dataset"]]
    need, pieces = frames * SAMPLES_PER_FRAME, itertools.cycle(voices)
    wave = np.concatenate([next(pieces) for _ in range(1 + need // min(map(len, voices)))])[:need]
    features = pipeline.audio.encode(wave.astype(np.float32) / 32768, frames).astype(np.float32)
    first = conditions_of(pipeline, [clip], clip.frames)
    windows = torch.from_numpy(window_view(features, pipeline.preset.audio.margin))[None]
    conditions = Conditions(first.reference_latents, first.reference_embedding, windows)
    return conditions, clip.face_box[None]


def seams(kind: str, frames: int, segment: int) -> np.ndarray:
    """The frames at which another segment or window takes over."""
    if kind == "chain":
        return np.arange(segment, frames, segment - 1)
    starts = np.array(window_starts(frames, segment))
    both = np.concatenate([starts, starts + segment])
    return np.unique(both[(both > 0) & (both < frames)])


def follow(pieces: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours [T, 3] and flow magnitudes into each frame [T] (pixels at 256; 0 at frame 0)."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    colours, moved, before = [], [], None
    for frame in (frame for piece in pieces for frame in piece[0]):
        colours.append(frame.reshape(-1, 3).mean(axis=0))
        grey = cv2.cvtColor(cv2.resize(frame, (FLOW_SIZE, FLOW_SIZE)), cv2.COLOR_RGB2GRAY)
        start = np.zeros((*grey.shape, 2), np.float32)
        step = np.zeros(1) if before is None else flow.calc(before, grey, start)
        moved.append(np.linalg.norm(step, axis=-1).mean())
        before = grey
    return np.array(colours), np.array(moved)


def measure(case: str, args: argparse.Namespace) -> dict[str, float | str]:
    kind, name = case.split()
    mode = TypeAdapter(Mode).validate_python(name)
    preset = load_preset(args.preset).with_generation(long_video=kind, modes=(mode,))
    pipeline = PahaPipeline.from_store(Store(args.store), preset, args.device)
    conditions, boxes = conditions_for(pipeline, args)
    how, started = Settings(mode=mode, seed=args.seed, steps=args.steps, force=True), time.time()
    colours, moved = follow(pipeline.stream(conditions, boxes, how, Trace()))
    at = seams(kind, len(colours), preset.generation.segment_frames)
    else_ = np.delete(moved, np.concatenate([[0], at]))
    start = colours[:SECOND].mean(axis=0)
    whole_seconds = len(colours) // SECOND * SECOND
    by_second = colours[:whole_seconds].reshape(-1, SECOND, 3).mean(axis=1)
    return {
        "case": case,
        "seconds": len(colours) / SECOND,
        "drift, worst second": float(np.abs(by_second - start).max()),
        "drift, last second": float(np.abs(by_second[-1] - start).max()),
        "seams": len(at),
        "flow at seams": float(moved[at].mean()),
        "flow elsewhere": float(else_.mean()),
        "ratio": float(moved[at].mean() / else_.mean()),
        "seams above p99": float((moved[at] > np.quantile(else_, 0.99)).mean()),
        "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "time": time.time() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="runs/demo")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--short", type=float, default=10, help="a second length, for memory")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--image")
    parser.add_argument("--audio")
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # a case, and where to write it
    args = parser.parse_args()
    if bool(args.image) != bool(args.audio):
        parser.error("give --image and --audio together")
    if args.one:
        Path(args.one[1]).write_text(json.dumps(measure(args.one[0], args)))
        return
    if not Store(args.store).exists("checkpoints/univdm/final/config.json"):
        print(f"no trained run in {args.store}: `make demo` makes one, or give --store")
        return
    rows = []
    for case in args.cases:
        for seconds in (args.short, args.seconds):
            rows.append(_in_a_process(case, seconds))
            print(", ".join(f"{k} {v:.3g}" if k != "case" else str(v) for k, v in rows[-1].items()))
    Store(args.store).write_json(LONG_VIDEO, rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


def _in_a_process(case: str, seconds: float) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, *sys.argv, "--seconds", str(seconds), "--one", case, str(out)]
        subprocess.run(command, check=True)
        return json.loads(out.read_text())


if __name__ == "__main__":
    main()
