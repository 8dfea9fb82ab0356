"""MONAI."""

import math

import torch
from monai.networks.layers import GaussianFilter
from monai.transforms import Rand3DElastic, RandSmoothDeform

from . import _grids, one_by_one


def rand_3d_elastic(volumes, noise, device="cpu"):
    """Uniform noise, filtered: the magnitude that gives the displacement its standard deviation."""
    magnitude = noise.std * math.sqrt(3) * (2 * math.sqrt(math.pi) * noise.sigma) ** 1.5
    transform = Rand3DElastic(
        (noise.sigma, noise.sigma),
        (magnitude, magnitude),
        prob=1.0,
        mode="bilinear" if volumes.dtype.kind == "f" else "nearest",
        padding_mode="border",
        device=torch.device(device),
    )
    return _seeded(transform, volumes, device)


def rand_smooth_deform(volumes, noise, device="cpu"):
    """Uniform noise on a coarse grid, interpolated linearly."""
    side = volumes.shape[1]
    step, strength = _grids.linear(noise)
    transform = RandSmoothDeform(
        (side,) * 3,
        (round(side / step),) * 3,
        prob=1.0,
        def_range=strength / ((side - 1) / 2),
        field_mode="trilinear",
        grid_mode="bilinear" if volumes.dtype.kind == "f" else "nearest",
        grid_align_corners=True,
        device=torch.device(device),
    )
    return _seeded(transform, volumes, device)


def _seeded(transform, volumes, device):
    def deform(volume, seed):
        transform.set_random_state(seed)
        return transform(volume)

    return one_by_one(deform, [torch.from_numpy(volume)[None].to(device) for volume in volumes])


def marginals(labels, std, classes=None, device="cpu"):
    smooth = GaussianFilter(3, std, truncated=4.0, approx="sampled").to(device)
    tensor = torch.from_numpy(labels).to(device)

    def call(seed):
        if classes is None:
            return smooth(tensor[None, None].float())[0, 0]
        hot = torch.nn.functional.one_hot(tensor.long(), classes).movedim(-1, 0).float()
        hot[0] -= 1  # what lies outside is background
        soft = smooth(hot[None])[0]
        soft[0] += 1
        return soft

    return call
