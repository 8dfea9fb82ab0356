"""`gfnoise figure`: a label under noise of several strengths, as Figure 1 of the 2023 paper."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ._folders import make
from .field import GaussianField
from .io import make_whole
from .thresholding import optimal_segmentation, score

_ROWS = ("average of 5 samples", "marginal", "accuracy-optimal", "Dice-optimal")
_SAMPLES = 5
_MARGIN = 3.0  # amplitudes of empty space around the label
_PANEL = 2.2  # inches


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
    title: str,
    unit: str,
    output: Path,
) -> int | None:
    """Draw and save; the slice that is shown."""
    box = _box(mask, spacing, _MARGIN * max(amplitudes), axis)
    if axis is not None and slice_ is None:
        slice_ = int(mask.sum(tuple(i for i in range(3) if i != axis)).argmax())
    view = _View(box, axis, slice_, upright, spacing)
    size = (_PANEL * len(amplitudes) + 1.2, _PANEL * len(_ROWS) * view.ratio + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(_ROWS), len(amplitudes), squeeze=False)
    clean = view.cut(mask)
    for amplitude, panels in zip(amplitudes, axes.T, strict=True):
        field = GaussianField(amplitude, length_scale, spacing=spacing, ndim=mask.ndim)
        samples = field.sample_labels(mask, seed=seed, n=_SAMPLES)
        marginal = field.marginals(mask)
        masks = [optimal_segmentation(marginal, name, ndim=mask.ndim) for name in _METRICS]
        shown = [samples.mean(0, dtype=np.float32), marginal, *masks]
        panels[0].set_title(f"a = {amplitude:g} {unit}")
        for panel, one in zip(panels, shown, strict=True):
            _panel(panel, view.cut(one), clean, view)
        for panel, one in zip(panels[2:], masks, strict=True):
            panel.set_xlabel(f"Dice {float(score(one, marginal, ndim=mask.ndim)):.3f}", fontsize=8)
    for panel, text in zip(axes[:, 0], _ROWS, strict=True):
        panel.set_ylabel(text)
    figure.colorbar(axes[0, -1].images[0], ax=axes, ticks=(0, 0.5, 1), aspect=60)
    where = "" if slice_ is None else f", slice {slice_}"
    figure.suptitle(f"{title}{where}; red: the label", fontsize=10)
    make(output.parent)
    make_whole(
        output,
        output.suffix.lower(),
        lambda part: figure.savefig(part, dpi=150),
        lambda part: part.replace(output),
    )
    return slice_


_METRICS = ("accuracy", "dice")


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


def _panel(panel: Any, values: NDArray[Any], clean: NDArray[Any], view: _View) -> None:
    panel.imshow(values, cmap="gray", vmin=0, vmax=1, aspect=view.aspect, interpolation="nearest")
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
