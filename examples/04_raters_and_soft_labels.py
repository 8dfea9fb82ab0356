"""What four radiologists make of a lung nodule: fusions, soft labels, and noise fitted to them.

    python examples/04_raters_and_soft_labels.py
    python examples/04_raters_and_soft_labels.py --nodules 20

For each nodule of LIDC-IDRI that four radiologists outlined, each of them is held out in turn, and
predicted from the other three: by their fusions, by spatially varying label smoothing (SVLS) of one
and of all of them, and by the marginal of the Gaussian field that was fitted to them, around their
majority. The table says how well each predicts the one who was held out: Brier score and expected
calibration error, around the nodule. The pictures show one nodule, and Figures 2 and 3 of Islam and
Glocker 2021.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gfnoise
import lidc
from gfnoise import metrics

NODULES = 8
SHOWN = "LIDC-IDRI-0001/0"
RATERS = 4
LEAST_VOLUME = 400  # voxels that a nodule has on average
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:purple")
CLASS_COLORS = np.array([(0.93, 0.93, 0.93), (0.84, 0.15, 0.16), (0.12, 0.47, 0.71)])
Prediction = Callable[[np.ndarray, tuple[float, ...]], np.ndarray]


# Predictions of a rater from the others


def marginal(masks: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The marginal of the fitted noise, around the majority."""
    fit = gfnoise.fit_field(masks, spacing=spacing)
    return fit.field.marginals(gfnoise.fuse_raters(masks, "majority"))


PREDICTIONS: dict[str, Prediction] = {
    "one rater": lambda m, _: m[0].astype(np.float32),
    "union": lambda m, _: gfnoise.fuse_raters(m, "union").astype(np.float32),
    "intersection": lambda m, _: gfnoise.fuse_raters(m, "intersection").astype(np.float32),
    "majority": lambda m, _: gfnoise.fuse_raters(m, "majority").astype(np.float32),
    "STAPLE, mask": lambda m, _: gfnoise.fuse_raters(m, "staple").astype(np.float32),
    "STAPLE, posterior": lambda m, _: gfnoise.staple(m).probability,
    "average (mOH)": lambda m, _: gfnoise.fuse_raters(m, "average"),
    "one rater, SVLS": lambda m, _: gfnoise.svls(m[0], 2, ndim=3)[1],
    "all, SVLS (mSVLS)": lambda m, _: gfnoise.svls(m, 2, ndim=3, axis=0)[1],
    "fitted noise": marginal,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; the exit status is 0, or 2 for a bad argument."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.nodules < 1:
        parser.error(f"argument --nodules: at least 1, got {args.nodules}")
    if not args.output.is_dir():
        parser.error(f"argument --output: no such folder: {args.output}")
    try:
        chosen = [one for one, _ in zip(large_nodules(), range(args.nodules), strict=False)]
        shown = lidc.load(*lidc.parse_name(args.nodule))
    except (FileNotFoundError, KeyError, ValueError) as error:
        parser.error(f"argument --nodule: {error.args[0]}")
    if len(shown.masks) != RATERS:
        parser.error(f"argument --nodule: four radiologists, got {len(shown.masks)}")

    print_table(chosen)
    print_fits(chosen)
    for name, figure in (
        ("04_raters.png", draw_nodule(shown)),
        ("04_svls.png", draw_figures_of_paper_004()),
    ):
        figure.savefig(args.output / name, dpi=150)
        print(f"Picture: {args.output / name}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Fusions and soft labels of four radiologists, against the one held out."
    )
    parser.add_argument(
        "--nodules",
        type=int,
        default=NODULES,
        help="how many nodules the table is of (default: %(default)s)",
    )
    parser.add_argument(
        "--nodule",
        default=SHOWN,
        metavar="PATIENT/INDEX",
        help="the nodule of the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("."),
        metavar="FOLDER",
        help="where the pictures go (default: here)",
    )
    return parser


def large_nodules() -> Iterator[lidc.Nodule]:
    """Nodules that four radiologists outlined, of more than a few voxels."""
    for nodule in lidc.nodules(RATERS):
        if nodule.masks.sum() >= RATERS * LEAST_VOLUME:
            yield nodule


# Tables


def evaluate(nodule: lidc.Nodule) -> dict[str, list[tuple[float, float]]]:
    """Brier score and ECE of each prediction against each rater who was held out."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PREDICTIONS}
    near = np.s_[tuple(box(nodule))]
    for held_out in range(RATERS):
        others = np.delete(nodule.masks, held_out, axis=0)
        truth = nodule.masks[held_out][near]
        for name, predict in PREDICTIONS.items():
            p = predict(others, nodule.spacing)[near]
            found[name].append(
                (
                    float(metrics.brier_score(p, truth)),
                    float(metrics.calibration_error(p, truth)),
                )
            )
    return found


def box(nodule: lidc.Nodule, margin: float = 2.0) -> list[slice]:
    """What any rater marked, and a margin in mm: far away, everybody is right."""
    inside = np.argwhere(nodule.masks.any(0))
    pads = [math.ceil(margin / size) for size in nodule.spacing]
    return [
        slice(max(low - pad, 0), high + 1 + pad)
        for low, high, pad in zip(inside.min(0), inside.max(0), pads, strict=True)
    ]


def print_table(nodules: Sequence[lidc.Nodule]) -> None:
    """Print the mean over nodules and held-out raters."""
    scores = [evaluate(nodule) for nodule in nodules]
    count = len(nodules) * RATERS
    print(
        f"{len(nodules)} nodules, each radiologist predicted from the other three ({count} times)"
    )
    print(f"\n{'prediction':18} | Brier score (s.e.) | ECE (s.e.)")
    for name in PREDICTIONS:
        values = np.array([np.mean(one[name], axis=0) for one in scores])
        mean = values.mean(0)
        error = values.std(0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else mean * np.nan
        print(f"{name:18} | {mean[0]:9.4f} ({error[0]:.4f}) | {mean[1]:.4f} ({error[1]:.4f})")


def print_fits(nodules: Sequence[lidc.Nodule]) -> None:
    """Print the noise fitted to all four raters of each nodule."""
    print(f"\n{'nodule':18} | amplitude (mm) | length scale (mm)")
    for nodule in nodules:
        fit = gfnoise.fit_field(nodule.masks, spacing=nodule.spacing)
        print(
            f"{nodule.name:18} | {fit.amplitude:5.2f} +- {fit.amplitude_error:4.2f} |"
            f" {fit.length_scale:6.2f} +- {fit.length_scale_error:.2f}"
        )


# Pictures


def draw_nodule(nodule: lidc.Nodule) -> Figure:
    """One slice: the outlines, and what all four radiologists predict."""
    k = int(nodule.masks.sum(axis=(0, 2, 3)).argmax())
    rows, columns = box(nodule, 3.0)[1:]
    names = [name for name in PREDICTIONS if not name.startswith("one rater")]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 5).ravel()
    height = nodule.spacing[1] * (rows.stop - rows.start)
    width = nodule.spacing[2] * (columns.stop - columns.start)
    extent = (0, width, height, 0)
    masks = nodule.masks[:, k, rows, columns]
    panels[0].imshow(np.zeros(masks.shape[1:]), cmap="Greys", vmin=0, vmax=1, extent=extent)
    panels[0].set_title("four radiologists")
    for axis, name in zip(panels[1:], names, strict=False):
        p = PREDICTIONS[name](nodule.masks, nodule.spacing)
        image = axis.imshow(p[k, rows, columns], cmap="Greys", vmin=0, vmax=1, extent=extent)
        axis.set_title(name)
    for axis in panels[:-1]:
        for mask, color in zip(masks, COLORS, strict=True):
            outline(axis, mask, nodule.spacing[1:], color, 1.6 if axis is panels[0] else 0.6)
        axis.set(xticks=(), yticks=())
    panels[-1].set_axis_off()
    bar = panels[-1].inset_axes((0.1, 0.05, 0.08, 0.9))
    figure.colorbar(image, cax=bar, label="probability", ticks=(0, 0.5, 1))
    fit = gfnoise.fit_field(nodule.masks, spacing=nodule.spacing)
    figure.suptitle(
        f"Lung nodule {nodule.name}, slice {k}, {width:.0f} mm wide; fitted noise: amplitude "
        f"{fit.amplitude:.2f} ± {fit.amplitude_error:.2f} mm, length scale "
        f"{fit.length_scale:.1f} ± {fit.length_scale_error:.1f} mm"
    )
    return figure


def outline(
    axis: Axes, mask: np.ndarray, spacing: Sequence[float], color: str, width: float
) -> None:
    """Draw the outline of a mask, in mm."""
    if mask.min() == mask.max():
        return
    rows, columns = ((np.arange(n) + 0.5) * s for n, s in zip(mask.shape, spacing, strict=True))
    axis.contour(columns, rows, mask.astype(float), [0.5], colors=[color], linewidths=width)


def draw_figures_of_paper_004() -> Figure:
    """SVLS weights and two toy structures (Figure 2), and two raters (Figure 3)."""
    figure = Figure(figsize=(11, 10.5), layout="constrained")
    grid = figure.add_gridspec(4, 4)
    draw_weights(figure, grid)
    first = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0] * 5])
    second = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0] * 5])
    for row, (name, labels) in enumerate((("Example 1", first), ("Example 2", second)), start=1):
        panels = [figure.add_subplot(grid[row, column]) for column in range(4)]
        hot = gfnoise.smooth_labels(labels, 2, 0.0)
        draw_classes(panels[0], labels, f"{name}: labels")
        draw_soft(panels[1], hot, "one-hot, red")
        draw_soft(panels[2], gfnoise.smooth_labels(labels, 2, 0.1), "LS, α = 0.1")
        draw_soft(panels[3], gfnoise.svls(labels, 2, ndim=2), "SVLS")
    raters = np.zeros((2, 5, 5), int)
    raters[0, 1:4, 1:3] = raters[1, 1:3, 1:3] = 1
    raters[:, :, 4] = 2
    raters[1, 3:, 3:] = 2
    panels = [figure.add_subplot(grid[3, column]) for column in range(4)]
    draw_classes(panels[0], raters[0], "Figure 3: rater 1")
    draw_classes(panels[1], raters[1], "rater 2")
    hard = gfnoise.fuse_raters(raters, "average", num_classes=3)
    draw_soft(panels[2], hard, "mOH, blue", c=2)
    draw_soft(panels[3], gfnoise.svls(raters, 3, ndim=2, axis=0), "mSVLS, blue", c=2)
    figure.suptitle("Figures 2 and 3 of Islam and Glocker 2021")
    return figure


def draw_weights(figure: Figure, grid: object) -> None:
    """The weights, as a lone voxel shows them, relative to its own: in 2D, and the planes in 3D."""
    point = np.zeros((5, 5, 5), np.uint8)
    point[2, 2, 2] = 1
    flat = gfnoise.svls(point[2], 2, ndim=2)[1]
    solid = gfnoise.svls(point, 2, ndim=3)[1]
    planes = [flat, solid[1], solid[2], solid[3]]
    titles = ["weights in 2D", "in 3D, plane -1", "plane 0", "plane +1"]
    for column, (plane, title) in enumerate(zip(planes, titles, strict=True)):
        axis = figure.add_subplot(grid[0, column])
        draw_soft(axis, 2 * plane[None, 1:4, 1:4], title, c=0)


def draw_classes(axis: Axes, labels: np.ndarray, title: str) -> None:
    """Show labels by colour."""
    axis.imshow(CLASS_COLORS[labels])
    axis.set(title=title, xticks=(), yticks=())


def draw_soft(axis: Axes, soft: np.ndarray, title: str, c: int = 1) -> None:
    """Show the probability of a class, and write it into its voxels."""
    axis.imshow(soft[c], cmap="Greys", vmin=0, vmax=1.4)
    for (y, x), value in np.ndenumerate(soft[c]):
        axis.text(x, y, f"{value:.3f}".rstrip("0").rstrip("."), ha="center", va="center", size=8)
    axis.set(title=title, xticks=(), yticks=())


if __name__ == "__main__":
    sys.exit(main())
