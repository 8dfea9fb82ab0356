"""`gfnoise figure`: a label under noise of several strengths, as Figure 1 of the 2023 paper."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..field import GaussianField
from ..io import make_atomically
from ..thresholding import optimal_segmentation, score
from ._folders import make

_ROWS = ("average of 5 samples", "marginal", "accuracy-optimal", "Dice-optimal")
_METRICS = ("accuracy", "dice")
_SAMPLES = 5
_SHADE = 0.45  # of a mask
_MARGIN = 3.0  # amplitudes of empty space around the label
_PANEL = 2.2  # inches
_LEAST = 5.0  # inches of the picture's width
_MOST = 40  # characters of a name
_CHARACTERS = 10  # of the title, to an inch: wide ones


def draw(
    mask: NDArray[np.bool_],
    spacing: tuple[float, ...],
    amplitudes: Sequence[float],
    length_scale: float,
    *,
    seed: int,
    axis: int | None,
    slice_: int | None,
    upright: bool,
    name: str,
    label: int | None,
    unit: str,
    sizes: tuple[float, ...] | None,
    output: Path,
) -> int | None:
    """Draw and save; the slice that is shown. `sizes` are the voxel's in mm, if they are known."""
    if axis is not None and slice_ is None:
        slice_ = int(mask.sum(tuple(i for i in range(3) if i != axis)).argmax())
    view = _View(
        _box(mask, spacing, _MARGIN * max(amplitudes), axis), axis, slice_, upright, spacing
    )
    width = max(_PANEL * len(amplitudes) + 1.2, _LEAST)
    height = (_PANEL * view.ratio + 0.2) * len(_ROWS) + 0.8
    figure = Figure(figsize=(width, height), layout="compressed")
    axes = figure.subplots(len(_ROWS), len(amplitudes), squeeze=False)
    for amplitude, panels in zip(amplitudes, axes.T, strict=True):
        field = GaussianField(amplitude, length_scale, spacing=spacing, ndim=mask.ndim)
        panels[0].set_title(f"a = {amplitude:g} {unit}")
        for panel, (values, caption) in zip(panels, _column(mask, field, seed, sizes), strict=True):
            _show(panel, values, mask, view)
            panel.set_xlabel(caption, fontsize=8, labelpad=2)
    for panel, text in zip(axes[:, 0], _ROWS, strict=True):
        panel.set_ylabel(text)
    bar = figure.colorbar(axes[0, -1].images[0], ax=axes[:2], ticks=(0, 0.5, 1), aspect=30)
    bar.set_label("probability")
    title = [_shortened(name)]
    if label is not None:
        title.append(f"label {label}")
    if axis is not None:
        named = f"axis {axis} ({'xyz'[axis]})" if upright else f"axis {axis}"
        title.append(f"slice {slice_} of {mask.shape[axis]} across {named}")
    title.append(f"length scale b = {length_scale:g} {unit}")
    title.append(f"red: the label, {_volume(mask, sizes)}")
    text = _wrapped(title, int(width * _CHARACTERS))
    figure.suptitle(text, fontsize=10, parse_math=False)
    _save(figure, output)
    return slice_


def _column(
    mask: NDArray[np.bool_], field: GaussianField, seed: int, sizes: tuple[float, ...] | None
) -> list[tuple[NDArray[Any], str]]:
    """What is shown of a field, a row each: a map or a mask, and its caption."""
    samples = field.sample_labels(mask, seed=seed, n=_SAMPLES)
    marginal = field.marginals(mask)
    maps = samples.mean(0, dtype=np.float32), marginal
    column = [(one, _volume(one, sizes)) for one in maps]
    for metric in _METRICS:
        best = optimal_segmentation(marginal, metric, ndim=mask.ndim)
        dice = float(score(best, marginal, ndim=mask.ndim))
        column.append((best, f"{_volume(best, sizes)}, Dice {dice:.3f}"))
    return column


def _save(figure: Figure, output: Path) -> None:
    make(output.parent)
    make_atomically(
        output,
        output.suffix.lower(),
        lambda part: figure.savefig(part, dpi=150),
        lambda part: part.replace(output),
    )


def _shortened(name: str) -> str:
    """A file's name that can be printed and is not too long: its ends."""
    name = name.encode(errors="backslashreplace").decode()
    if len(name) <= _MOST:
        return name
    half = (_MOST - 1) // 2
    return f"{name[: _MOST - 1 - half]}…{name[-half:]}"


def _wrapped(parts: list[str], width: int) -> str:
    """Lines of whole parts."""
    text = "; ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _volume(values: NDArray[Any], sizes: tuple[float, ...] | None) -> str:
    """The sum of a mask or of probabilities, with its unit."""
    volume, unit = float(values.sum(dtype=np.float64)), "voxels"
    if sizes is not None:
        per_ml = 1000 if values.ndim == 3 else 1
        volume, unit = volume * math.prod(sizes) / per_ml, ("mm²", "ml")[values.ndim == 3]
    digits = np.format_float_positional(volume, 4, unique=False, fractional=False, trim="-")
    return f"{digits} {unit}"


class _View:
    """The part that is shown: a box of a slice, its rows along the last axis but one."""

    def __init__(
        self,
        box: tuple[slice, ...],
        axis: int | None,
        index: int | None,
        upright: bool,
        spacing: tuple[float, ...],
    ):
        self._cut: tuple[Any, ...] = tuple(
            index if i == axis else part for i, part in enumerate(box)
        )
        self._upright = upright
        rows, columns = (size for i, size in enumerate(spacing) if i != axis)
        heights, widths = (part.stop - part.start for i, part in enumerate(box) if i != axis)
        if upright:  # (x, y, z) of a header: x to the right, y upwards
            rows, columns, heights, widths = columns, rows, widths, heights
        self.aspect = rows / columns
        self.ratio = min(max(heights * rows / (widths * columns), 0.4), 2.0)

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        part = array[self._cut]
        return part.T[::-1] if self._upright else part


def _show(panel: Any, values: NDArray[Any], mask: NDArray[np.bool_], view: _View) -> None:
    """A map or a mask, with the outline of the label."""
    shade = 1.0 if values.dtype.kind == "f" else _SHADE
    image, clean = shade * view.cut(values), view.cut(mask)
    panel.imshow(image, cmap="Greys", vmin=0, vmax=1, aspect=view.aspect, interpolation="nearest")
    if clean.any() and not clean.all() and min(clean.shape) > 1:
        panel.contour(clean, levels=[0.5], colors="tab:red", linewidths=0.8)
    panel.set_xticks([])
    panel.set_yticks([])


def _box(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], margin: float, axis: int | None
) -> tuple[slice, ...]:
    """What holds the foreground and a margin, in voxels."""
    box = []
    for i, size in enumerate(spacing):
        if i == axis:
            box.append(slice(0, 1))
            continue
        used = np.flatnonzero(mask.any(tuple(j for j in range(mask.ndim) if j != i)))
        pad = math.ceil(min(margin / size, mask.shape[i])) + 2
        box.append(slice(max(int(used[0]) - pad, 0), min(int(used[-1]) + 1 + pad, mask.shape[i])))
    return tuple(box)
