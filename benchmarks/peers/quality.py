"""The law of the displacement that a library applies, measured on images of coordinates.

A library that deforms images linearly is given the three ramps ``w_i / (n - 1)``: what it returns
is ``(w_i + X_i(w)) / (n - 1)``, so that X is read off without a look inside. A ramp and its reverse
add up to 1 but where a library fills what comes from outside: such points are left out. Where it
clamps, the component along the normal is read from the points that move inwards alone: every law
here is symmetric, so their mean square is that of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cases import ball

from .works import Noise, matched

_DRAWS = 200


def touching(side: int) -> tuple[np.ndarray, Noise]:
    """A label of two classes, 1 around 4: rounding a mean of them gives 2 and 3."""
    outer = ball((side,) * 3)
    middle = slice(3 * side // 8, 5 * side // 8)
    outer[middle, middle, middle] = 4
    return outer[None], matched(side)


def law(adapter: Callable[..., Any], side: int, seconds: float) -> dict[str, Any]:
    """Standard deviations and length, over those wanted."""
    noise = matched(side)
    ramps = np.indices((side,) * 3, np.float32) / (side - 1)
    images = np.stack([*ramps, 1 - ramps[0]])
    calls = [adapter(image[None], noise) for image in images]
    squares: dict[str, list[np.ndarray]] = {"middle": [], "face": [], "corner": []}
    products = []
    end, draws = time.perf_counter() + seconds, 0
    while draws < _DRAWS and (draws < 4 or time.perf_counter() < end):
        *moved, reverse = (_volume(call(1000 + draws), side) for call in calls)
        field = (np.stack(moved) - ramps) * (side - 1)
        inside = np.abs(moved[0] + reverse - 1) < 1e-4
        for place, values in _places(field, inside).items():
            squares[place].append(values**2)
        products.append(_products(field))
        draws += 1
    return {
        **{place: _rms(np.concatenate(found)) / noise.std for place, found in squares.items()},
        "length": _length(np.mean(products, 0), noise.length_scale),
        "draws": draws,
    }


def _rms(squares: np.ndarray) -> float:
    return float(np.sqrt(squares.mean())) if squares.size else 0.0  # nothing moves inwards


def _volume(result: Any, side: int) -> np.ndarray:
    return np.asarray(result[0], np.float64).reshape((side,) * 3)


def _places(field: np.ndarray, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Components in the middle, at the faces' centres and at the corners."""
    side = field.shape[-1]
    inner = slice(side // 4, side - side // 4)
    patch = slice(3 * side // 8, 5 * side // 8, 2)
    found: dict[str, list[np.ndarray]] = {"face": [], "corner": []}
    for axis in range(3):
        for end in (0, -1):
            at = tuple(end if i == axis else patch for i in range(3))
            for component in range(3):
                values, keep = field[component][at], inside[at]
                if component == axis:
                    keep = keep & _inwards(values, end)
                found["face"].append(values[keep])
    for corner in np.ndindex(2, 2, 2):
        at = tuple(-one for one in corner)
        for component, end in enumerate(at):
            value = field[component][at]
            if inside[at] and _inwards(value, end):
                found["corner"].append(value.reshape(1))
    joined = {place: np.concatenate([*values, []]) for place, values in found.items()}
    return {"middle": field[:, inner, inner, inner].ravel(), **joined}


def _inwards(values: np.ndarray, end: int) -> np.ndarray:
    return values > 1e-4 if end == 0 else values < -1e-4


def _products(field: np.ndarray) -> np.ndarray:
    """Mean products of the field with itself by lag along an axis, and its squares there."""
    side = field.shape[-1]
    means = []
    for lag in range(side // 2):
        near, far = (slice(side // 8 + by, side // 8 + by + side // 4) for by in (0, lag))
        pairs = [(field[:, near], field[:, far]), (field[:, :, near], field[:, :, far])]
        pairs.append((field[..., near], field[..., far]))
        means.append(
            np.mean([(np.mean(a * b), np.mean(a * a), np.mean(b * b)) for a, b in pairs], 0)
        )
    return np.array(means)


def _length(products: np.ndarray, unit: float) -> float | None:
    """Where the correlation has fallen to exp(-1/2), as a squared exponential at its length.

    None if it is longer than half of the side.
    """
    correlation = products[:, 0] / np.sqrt(products[:, 1] * products[:, 2])
    below = int(np.argmax(correlation < np.exp(-0.5)))
    if below == 0:
        return None
    high, low = correlation[below - 1], correlation[below]
    return float(below - 1 + (high - np.exp(-0.5)) / (high - low)) / unit
