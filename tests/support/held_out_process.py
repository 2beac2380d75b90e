"""Generates a preset's held-out videos as a process of its own, so that a test can start two, or
kill one.

    held_out_process.py PRESET.json STORE PAUSE

Says so and waits PAUSE seconds with each batch in its hands; prints in the end how many videos it
has generated.
"""

import sys
import time
from functools import cache
from pathlib import Path

import torch

from paha_core.config import Preset
from paha_core.inference import held_out
from paha_core.inference.pipeline import PahaPipeline
from paha_core.store import Store


def main(preset, store, pause):
    torch.set_num_threads(1)
    generate, made = held_out.generate_batch, []

    def slow(*arguments):
        print("holds a batch", flush=True)
        time.sleep(float(pause))
        rows = generate(*arguments)
        made.extend(rows)
        return rows

    held_out.generate_batch = slow
    store = Store(store)
    preset = Preset.model_validate_json(Path(preset).read_text())
    held_out.generate_held_out(store, preset, cache(lambda: PahaPipeline.from_store(store, preset)))
    print(len(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
