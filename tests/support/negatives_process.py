"""Makes a preset's negatives as a process of its own, so that a test can start two, or kill one.

    negatives_process.py PRESET.json STORE PAUSE

Says so and waits PAUSE seconds with each batch in its hands; prints in the end how many negatives
it has generated.
"""

import sys
import time
from pathlib import Path

import torch

from paha_core.config import Preset
from paha_core.inference import negatives
from paha_core.store import Store


def main(preset, store, pause):
    torch.set_num_threads(1)
    write = negatives.write_shards

    def slow(*arguments, **options):
        print("holds a batch", flush=True)
        time.sleep(float(pause))
        return write(*arguments, **options)

    negatives.write_shards = slow
    made = Preset.model_validate_json(Path(preset).read_text())
    results = negatives.make_negatives(Store(store), made)
    print(sum(result.computed for result in results.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
