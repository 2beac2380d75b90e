"""Parts-Aware Re-weighting: how much each latent cell counts in the loss (equations 2 and 3).

    from paha_core.par import par_weights
    weights = par_weights(keypoints.points, keypoints.scores, keypoints.size, ParConfig(), grid=64)

`weights.py` is the function, `kernel.py` its inner loops, `stage.py` the pipeline's stage.
"""

from paha_core.par.mask import BODY_BIT, FACE_BIT, HANDS_BIT, par_weights, region_masks

__all__ = ["BODY_BIT", "FACE_BIT", "HANDS_BIT", "par_weights", "region_masks"]
