"""Training clips as WebDataset tars: one sample a clip, an index in the stage's manifest.

`writer.py` makes shards, `reader.py` reads clips out of them, `windows.py` turns clips into
batches, `stage.py` is the pipeline's stage from clips to shards.
"""
