"""Listing 2 of Nordström et al. 2023 on a GPU, with CuPy."""

import cupy
import cupyx.scipy.ndimage as ndimage

from . import one_by_one


def noise(volumes, noise, device="cuda"):
    """As `scipy_.noise`, with the displacement in float32."""
    shape = volumes.shape[1:]
    weight = noise.std * (2 * cupy.pi * noise.length_scale**2) ** 0.75
    grid = cupy.indices(shape, cupy.float32)

    def deform(volume, seed):
        points = cupy.random.default_rng(seed).standard_normal((3, *shape), cupy.float32)
        for component in points:
            ndimage.gaussian_filter(component, noise.sigma, mode="constant", output=component)
        points *= weight
        points += grid
        moved = ndimage.map_coordinates(volume.astype(cupy.float32), points, order=1)
        return cupy.rint(moved).astype(volume.dtype)

    return one_by_one(deform, [cupy.asarray(volume) for volume in volumes])
