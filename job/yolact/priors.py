"""Anchors (priors) of a YOLACT network, made from its description."""

import numpy as np
import numpy.typing as npt

from job.model import Architecture


def make_priors(architecture: Architecture) -> npt.NDArray[np.float32]:
    """Anchors [N, 4]: centre x, centre y, width, height, relative to the input.

    Order: level P3..P7, row, column, aspect ratio; the network's heads come in the same order
    (Bolya et al., ICCV 2019, section 4). With ``square_anchors`` the height equals the width, as
    the published weights need it (dbolya/yolact issues #19 and #220).
    """
    roots = np.sqrt(architecture.aspect_ratios)
    levels = []
    for size, scale in zip(architecture.feature_sizes, architecture.scales, strict=True):
        width = scale * roots / architecture.input_size
        height = width if architecture.square_anchors else scale / roots / architecture.input_size
        centres = (np.arange(size) + 0.5) / size
        y, x, w = np.meshgrid(centres, centres, width, indexing="ij")
        levels.append(np.stack([x, y, w, np.broadcast_to(height, w.shape)], axis=-1).reshape(-1, 4))
    priors: npt.NDArray[np.float32] = np.concatenate(levels).astype(np.float32)
    return priors
