"""cornucopia."""

import cornucopia
import torch

from . import _grids, one_by_one


def cubic(volumes, noise, device="cpu"):
    return _elastic(volumes, *_grids.cubic(noise), 3, device)


def linear(volumes, noise, device="cpu"):
    """Its fast path: `order=1` interpolates the control points linearly."""
    return _elastic(volumes, *_grids.linear(noise), 1, device)


def _elastic(volumes, step, strength, order, device):
    transform = cornucopia.ElasticTransform(
        dmax=strength,
        unit="vox",
        shape=round(volumes.shape[1] / step) + 1,
        order=order,
        nearest_if_label=True,
    )

    def deform(volume, seed):
        torch.manual_seed(seed)
        return transform(volume)

    return one_by_one(deform, [torch.from_numpy(volume)[None].to(device) for volume in volumes])
