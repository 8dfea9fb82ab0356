"""Why optimal masks differ in volume from the mean: Figures 2 to 4 of Nordström et al. 2022.

    python examples/03_volume_figures.py --output examples/figures

``volume_marginals.png``: three maps, the distribution F_m of 1 - m and its inverse (Figure 2).
``volume_extremes.png``: the maps that reach the bounds of accuracy and of Dice (Figures 3 and 4).
``volume_bias.png``: how much larger or smaller than the mean volume the optimal masks are: where
only some see a structure, where its border is uncertain, and at most. `examples/README.md` explains
them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gfnoise

VOXELS = 1000  # of a map in one dimension
MEAN = 0.4  # of the extreme maps
COLORS = {"accuracy": "tab:blue", "dice": "tab:orange"}
NAMES = {"accuracy": "accuracy", "dice": "Dice"}
RADII = {"plate": 100, "disc": 60, "ball": 18}  # voxels; half the thickness of the plate
AMPLITUDES = np.linspace(0.02, 1.0, 25)  # of the radius


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; the exit status is 0, or 2 for a bad argument."""
    parser = argparse.ArgumentParser(
        description="Figures 2 to 4 of Nordström et al. 2022, and the volume bias."
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where to write the pictures (default: here)",
    )
    args = parser.parse_args(argv)
    if not args.output.is_dir():
        parser.error(f"argument --output: no such folder: {args.output}")
    pictures = {"marginals": draw_marginals, "extremes": draw_extremes, "bias": draw_bias}
    for name, function in pictures.items():
        path = args.output / f"volume_{name}.png"
        function().savefig(path, dpi=130)
        print(f"Picture: {path}")
    return 0


# Maps


def marginals() -> dict[str, np.ndarray]:
    """Return the three maps of Figure 2, on [0, 1]."""
    x = (np.arange(VOXELS) + 0.5) / VOXELS
    first, second, middle = (
        ((x > low) & (x < low + 0.4)).astype(np.uint8) for low in (0.2, 0.4, 0.3)
    )
    noise = gfnoise.GaussianField(0.08 * VOXELS, 0.3 * VOXELS, ndim=2)
    return {
        "no noise": first.astype(float),
        "one of two labels": (first + second) / 2,
        "normal noise of the border": noise.marginals(middle[:, None], mode="nearest")[:, 0],
    }


def extreme(metric: str) -> np.ndarray:
    """Return the votes of the map of mean 0.4 whose optimal volumes reach both bounds.

    Accuracy (Figure 3): one of 2 votes on a share of 2 v. Dice (Figure 4): all votes on v², the
    threshold v / (1 + v), 2 votes of 7, on the rest.
    """
    if metric == "accuracy":
        return np.repeat([1, 0], [int(2 * MEAN * VOXELS), VOXELS - int(2 * MEAN * VOXELS)])
    sure = int(MEAN**2 * VOXELS)
    return np.repeat([7, 2], [sure, VOXELS - sure])


def relative_volumes(m: np.ndarray) -> dict[str, float]:
    """Divide the largest optimal volumes by the mean volume."""
    ranges = {metric: gfnoise.volume_range(m, metric) for metric in COLORS}
    return {metric: float(found.most / found.mean) for metric, found in ranges.items()}


def blurred(structure: str, amplitude: float) -> np.ndarray:
    """Return the marginal of a plate, disc or ball under noise of a share of its radius."""
    radius = RADII[structure]
    half = int(radius * (1 + 4 * amplitude)) + 1
    axis = np.arange(-half, half + 1)
    axes = {"plate": (axis, [0]), "disc": (axis,) * 2, "ball": (axis,) * 3}[structure]
    label = (sum(x**2 for x in np.ix_(*axes)) <= radius**2).astype(np.uint8)
    noise = gfnoise.GaussianField(amplitude * radius, radius, ndim=label.ndim)
    return noise.marginals(label, mode="nearest")


# Pictures


def draw_marginals() -> Figure:
    """Draw Figure 2: a column per map."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    maps = marginals()
    axes = figure.subplots(3, len(maps), sharey="row")
    grid = np.linspace(0, 1, 2001)
    for column, (name, m) in zip(axes.T, maps.items(), strict=True):
        curves = gfnoise.volume_curves(m)
        draw_masks(column[0], m)
        column[0].set(title=name, xlabel="ω")
        column[1].plot(grid, curves.cdf(grid), color="black")
        column[1].set(xlabel="t: 1 minus the probability")
        column[2].plot(grid, curves.quantile(grid), color="black")
        column[2].set(xlabel="v: volume", ylim=(-0.05, 1.05))
        for metric, color in COLORS.items():
            found = gfnoise.volume_range(m, metric)
            low, high = found.least / found.voxels, found.most / found.voxels
            column[1].axhspan(low - 0.005, high + 0.005, color=color, alpha=0.5, lw=0)
            column[2].axvspan(low - 0.005, high + 0.005, color=color, alpha=0.5, lw=0)
    labels = (r"marginal $m(\omega)$", r"volume $F_m(t)$", r"level $F_m^{-1}(v)$")
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    figure.legend(
        handles=axes[0, 0].get_legend_handles_labels()[0],
        loc="outside lower center",
        ncols=2,
        title="in the top row: the largest optimal mask; below: all optimal volumes",
    )
    return figure


def draw_masks(axis: Axes, m: np.ndarray) -> None:
    """Draw a map, and the optimal masks as bars above it."""
    x = (np.arange(m.size) + 0.5) / m.size
    axis.plot(x, m, color="black")
    for height, (metric, color) in zip((1.16, 1.08), COLORS.items(), strict=True):
        mask = gfnoise.optimal_segmentation(m, metric)
        bar = np.where(mask, height, np.nan)
        axis.plot(
            x,
            bar,
            color=color,
            linewidth=4,
            solid_capstyle="butt",
            label=f"{NAMES[metric]}-optimal",
        )
    axis.set_ylim(-0.05, 1.22)


def draw_extremes() -> Figure:
    """Draw Figures 3 and 4: a row per metric."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.subplots(2, 2)
    grid = np.linspace(0, 1, 2001)
    for (left, right), (metric, raters) in zip(axes, (("accuracy", 2), ("dice", 7)), strict=True):
        votes = extreme(metric)
        curves = gfnoise.volume_curves(votes, raters=raters)
        found = gfnoise.volume_range(votes, metric, raters=raters)
        low, high = found.least / found.voxels, found.most / found.voxels
        left.plot(grid, curves.quantile(grid), color="black")
        left.set(xlabel="v: volume", ylabel=r"level $F_m^{-1}(v)$", ylim=(-0.05, 1.05))
        left.set_title(f"the extreme map of {NAMES[metric]}", fontsize=10)
        values = getattr(curves, metric)(grid)
        right.plot(grid, values, color="black")
        best = (grid >= low) & (grid <= high)
        right.plot(grid[best], values[best], color=COLORS[metric], linewidth=4, alpha=0.7)
        for bound in gfnoise.volume_bounds(MEAN, metric):
            right.axvline(bound, color=COLORS[metric], linestyle="--", linewidth=1)
        right.axvline(MEAN, color="grey", linestyle=":", linewidth=1)
        formula = {"accuracy": "a_m(v)", "dice": "d_m(v)"}[metric]
        right.set(xlabel="v: volume", ylabel=f"best {NAMES[metric]} ${formula}$")
        right.set_title(f"optimal: {low:g} to {high:g}; mean volume {MEAN:g}", fontsize=10)
    return figure


def draw_bias() -> Figure:
    """Draw the optimal volumes over the mean volume, for a page for practitioners."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    some, border, bounds = figure.subplots(1, 3)
    shares = np.linspace(0.1, 1, 181)
    values = [relative_volumes(np.full(10, share)) for share in shares]
    for (metric, color), style in zip(COLORS.items(), ("--", "-"), strict=True):
        ratios = np.array([one[metric] for one in values])
        ratios[:-1][np.diff(ratios) > 1] = np.nan  # no line where it leaps
        label = f"{NAMES[metric]}-optimal"
        some.plot(shares, ratios, style, color=color, zorder=2 + (style == "--"), label=label)
    some.set(
        title="Seen by some", xlabel="share of the raters who see it", ylabel="volume / mean volume"
    )
    for structure, style in zip(RADII, ("-", "--", ":"), strict=True):
        values = [relative_volumes(blurred(structure, share)) for share in AMPLITUDES]
        for metric, color in COLORS.items():
            border.plot(
                AMPLITUDES,
                [one[metric] for one in values],
                style,
                color=color,
                label=structure if metric == "dice" else None,
            )
    border.set(title="Uncertain border", xlabel="amplitude of the noise / radius")
    border.legend(title="Dice; accuracy in blue")
    v = np.linspace(0.05, 1, 400)
    for metric, color in COLORS.items():
        found = gfnoise.volume_bounds(v, metric)
        bounds.fill_between(v, found.least / v, found.most / v, color=color, alpha=0.35, lw=0)
    bounds.set(
        title="At least and at most", xlabel="mean volume, as a share of the image", ylim=(0, 10)
    )
    for axis in (some, border, bounds):
        axis.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axis.set_ylim(bottom=-0.03 * axis.get_ylim()[1])
    some.legend()
    return figure


if __name__ == "__main__":
    sys.exit(main())
