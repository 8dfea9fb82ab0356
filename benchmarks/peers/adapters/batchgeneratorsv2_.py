"""batchgeneratorsv2, nnU-Net's transforms."""

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

from . import one_by_one

LARGEST = 3.75  # a draw's maximum, over its standard deviation: the library divides by the maximum


def nearest(volumes, noise, mode="nearest"):
    side = volumes.shape[1]
    transform = SpatialTransform(
        (side,) * 3,
        0,
        False,
        p_elastic_deform=1,
        elastic_deform_scale=noise.sigma / side,
        elastic_deform_magnitude=LARGEST * noise.std,
        p_synchronize_def_scale_across_axes=1,
        mode_seg=mode,
        border_mode_seg="border",
        padding_mode_image="border",
    )
    kind = "image" if volumes.dtype.kind == "f" else "segmentation"

    def deform(volume, seed):
        np.random.seed(seed)  # noqa: NPY002 - the library's source of numbers
        torch.manual_seed(seed)
        return transform.apply({kind: volume}, **transform.get_parameters(image=volume))[kind]

    return one_by_one(deform, [torch.from_numpy(volume)[None] for volume in volumes])


def bilinear(volumes, noise):
    """As nnU-Net calls it: each class is interpolated, the largest wins."""
    return nearest(volumes, noise, mode="bilinear")
