"""Training clips as WebDataset tars: one sample a clip, an index in the stage's manifest.

`writer.py` makes shards, `reader.py` reads clips out of them, `windows.py` turns clips into
batches, `stage.py` is the pipeline's stage from clips to shards.

webdataset can read these shards. Training does not use its reader, which streams whole shards in
order through a shuffle buffer: here any clip is read by itself, checked by its hash, and step n has
the same clips after any restart. Nor its writer: the index needs the byte range of each clip, and a
clip that is already encoded is copied to another shard unchanged.
"""
