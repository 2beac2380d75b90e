"""Parts-Aware Re-weighting: the loss weight of each latent cell (equations 2 and 3).

    from paha_core.par import par_weights
    weights = par_weights(keypoints.points, keypoints.scores, keypoints.size, ParConfig(), grid=64)

`mask.py` computes the weights, `kernel.py` holds its inner loops, `stage.py` is the pipeline stage,
`video.py` applies pose detection and PAR to any video file.
"""

from paha_core.par.mask import BODY_BIT, FACE_BIT, HANDS_BIT, par_weights, region_masks

__all__ = ["BODY_BIT", "FACE_BIT", "HANDS_BIT", "par_weights", "region_masks"]
