"""Constants of SyncNet's face track and shifts, as in its published pipeline; shared by metrics and
filters, without torch."""

SAMPLE_RATE = 16_000  # Hz
SHIFT = 15  # frames that sound is moved either way
TRACK_GAP = 25  # frames without a detection that a track survives
TRACK_OVERLAP = 0.5  # intersection over union
TRACK_MEDIAN = 13  # frames of the filter that smooths it
CROP_SCALE = 0.40  # of the box's half: room below the face, and to its sides
