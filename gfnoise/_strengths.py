"""How strong a field is, per item and axis, on a grid of voxels."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .field import GaussianField


def own_items(noise: "GaussianField") -> int | None:
    """How many items the parameters are given for; None: they are the same for all."""
    given = {
        name: len(value)
        for name in ("amplitude", "length_scale", "spacing")
        if isinstance((value := getattr(noise, name))[0], tuple)
    }
    if len(set(given.values()) - {1}) > 1:
        listed = ", ".join(f"{name} of {items}" for name, items in given.items())
        raise ValueError(f"parameters must be given for equally many items, got {listed}")
    return max(given.values(), default=None)


def check_items(noise: "GaussianField", items: int) -> None:
    """Raise ValueError unless the parameters are for so many items, or for any."""
    own = own_items(noise)
    if own not in (None, 1, items):
        raise ValueError(
            f"amplitude, length_scale and spacing must be given once or for each of "
            f"{items} items, got {own}"
        )


@lru_cache(maxsize=256)
def in_voxels(
    noise: "GaussianField", items: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Amplitude and length scale per item and axis, in voxels of a grid."""
    check_items(noise, items)
    unit = noise.spacing == "unit"
    spacing = tuple(1 / max(size, 1) for size in shape) if unit else noise.spacing
    # In plain Python: a strength that is drawn for each item is new at every call.
    given = [_rows(value) for value in (noise.amplitude, noise.length_scale, spacing)]
    own = max(map(len, given))
    *strengths, sizes = (rows if len(rows) == own else rows * own for rows in given)
    values = [
        [
            x / y
            for row, size in zip(rows, sizes, strict=True)
            for x, y in zip(row, size, strict=True)
        ]
        for rows in strengths
    ]
    scaled = np.array(values).reshape(2, own, noise.ndim)
    if own != items:
        scaled = scaled.repeat(items, axis=1)
    scaled.flags.writeable = False  # it is kept
    amplitude, length_scale = scaled
    if max(map(max, values)) == math.inf or not min(values[1]):
        bad = "amplitude" if max(values[0]) == math.inf else "length_scale"
        value = length_scale if bad == "length_scale" else amplitude
        raise ValueError(f"{bad} / spacing must be finite and not vanish, got {value}")
    return amplitude, length_scale


def _rows(value: tuple[Any, ...]) -> tuple[tuple[float, ...], ...]:
    """A parameter as one row per item, or one for all."""
    return value if isinstance(value[0], tuple) else (value,)
