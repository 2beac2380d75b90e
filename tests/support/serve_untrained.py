"""serve_untrained.py FOLDER PORT CAPACITY: API and page over untrained networks (smoke preset)."""

import sys
from pathlib import Path

import torch
import uvicorn

from paha_core.config import load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.serve.api import create_app
from paha_core.serve.limits import Limits

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, port, capacity = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    app = create_app(
        untrained_pipeline(load_preset("smoke")),
        folder,
        Limits(seconds=2.0, capacity=capacity),
        page=True,
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
