"""Strengths that are hardly meant, as where a length is in another unit: told once per run."""

from collections.abc import Sequence

import numpy as np

from ..io import Image


def of_folds(amplitude: float, length_scale: float) -> list[str]:
    """What to tell of a displacement that folds; the shares are bounds, in 2D and 3D."""
    if amplitude <= length_scale:
        return []
    return [
        f"amplitude {amplitude:g} exceeds the length scale {length_scale:g}: the noise folds over "
        "at 30 % of the voxels or more (below a quarter of it, at 1 of 1800 or less)"
    ]


def of_size(amplitude: float, image: Image, spacing: Sequence[float], units: str) -> list[str]:
    """What to tell of an image that is small for the displacement."""
    sides = np.multiply(image.data.shape, spacing)
    axis = int(sides.argmin())
    if amplitude <= sides[axis] / 2:
        return []
    question = ": is the spacing in mm?" * (units == "mm")
    return [
        f"{image.path}: amplitude {amplitude:g} {units} exceeds half of the image, which is "
        f"{sides[axis]:g} {units} along axis {axis}{question}"
    ]


def first(texts: list[str]) -> list[str]:
    """One for all files."""
    if len(texts) < 2:
        return texts
    more = len(texts) - 1
    return [f"{texts[0]} (and {more} more file{'s' * (more > 1)})"]
