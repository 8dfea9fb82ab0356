"""TorchIO 1."""

import torch
import torchio

from . import _grids, one_by_one


def noise(volumes, noise):
    step, strength = _grids.cubic(noise)
    transform = torchio.RandomElasticDeformation(
        num_control_points=max(4, round(volumes.shape[1] / step) + 3),
        max_displacement=strength,
        locked_borders=0,
    )
    kind = torchio.ScalarImage if volumes.dtype.kind == "f" else torchio.LabelMap

    def deform(image, seed):
        torch.manual_seed(seed)
        return transform(image).data

    return one_by_one(deform, [kind(tensor=volume[None]) for volume in volumes])
