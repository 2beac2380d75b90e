"""serve_untrained.py FOLDER PORT CAPACITY: API and page over untrained networks (smoke preset), and
an adapter `me` with random matrices."""

import copy
import sys
import tempfile
from pathlib import Path

import torch
import uvicorn

from paha_core.config import load_preset
from paha_core.inference.adapters import FILE, AdapterInfo, fingerprint_of, write_adapter
from paha_core.inference.untrained import untrained_pipeline
from paha_core.models.lora import add_lora, lora_parameters, target_layers
from paha_core.serve.api import create_app
from paha_core.serve.limits import Limits


def with_adapter(pipeline, name="me"):
    """The pipeline with a loaded adapter of that name, which acts on nothing yet."""
    univdm = copy.deepcopy(pipeline.univdm)
    info = AdapterInfo(
        *(name, "my own", fingerprint_of(univdm), "smoke", pipeline.codec.sha256),
        *(2, 2, ("attentions",), 1, 1, 1.0),
    )
    add_lora(univdm, name, target_layers(univdm, info.targets), info.rank, info.alpha)
    for parameter in lora_parameters(univdm, name).values():
        torch.nn.init.normal_(parameter, std=2.0)
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(Path(folder) / FILE, univdm, name, info)
        pipeline.load_adapter(folder)
    return pipeline


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, port, capacity = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    app = create_app(
        with_adapter(untrained_pipeline(load_preset("smoke"))),
        folder,
        Limits(seconds=2.0, capacity=capacity),
        page=True,
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
