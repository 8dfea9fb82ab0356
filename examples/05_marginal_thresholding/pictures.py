"""Pictures of results: Figures 1 and 3 of Nordström et al. 2023, and calibration curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

import gfnoise
from phantoms import ORGANS, Phantoms
from settings import LENGTH_SCALE
from tables import ALIASES, PAPER, Cell, Result, Row, organ_rank

COLORS = {"CE(1/2)": "tab:blue", "SD(1/2)": "tab:orange", "CE(m)": "tab:green"}
THEORY = {"theory 1/2": "--", "theory Dice": ":"}
SAMPLES = 5
FIGURE_1 = (
    "average of 5 samples",
    "marginal",
    "accuracy-optimal",
    "Dice-optimal",
)


def curves(table: dict[Row, dict[str, Cell]], against: str) -> Figure:
    """Figure 3: Dice over the noise level, a panel per organ; crosses are the paper's figures."""
    organs = list(dict.fromkeys(organ for organ, _ in table))
    figure = Figure(figsize=(4.2 * len(organs) + 0.4, 3.8), layout="constrained")
    for axis, organ in zip(figure.subplots(1, len(organs), squeeze=False)[0], organs, strict=True):
        rows = [(noise, row) for (name, noise), row in table.items() if name == organ]
        for number, (method, color) in enumerate(COLORS.items()):
            points = [(a, row[method]) for a, row in rows if method in row]
            x = [a for a, _ in points]
            means, errors = ([getattr(cell, k) for _, cell in points] for k in ("mean", "error"))
            bars = np.nan_to_num(errors)
            axis.errorbar(x, means, bars, color=color, marker="o", ms=4, capsize=3, label=method)
            paper = [(a, PAPER.get((ALIASES.get(organ, organ), a))) for a in x]
            if against == "noisy":
                known = [(a, one[number]) for a, one in paper if one]
                axis.plot(*zip(*known, strict=True) if known else ([], []), "x", color=color)
        for name, style in THEORY.items():
            points = [(a, row[name].mean) for a, row in rows if name in row]
            axis.plot(*zip(*points, strict=True), style, color="gray", lw=1, label=name)
        axis.set(title=organ, xlabel="a (of the cube's side)", ylim=(0, 1))
        axis.grid(alpha=0.3)
    if against == "noisy":
        figure.axes[0].plot([], [], "x", color="gray", label="the paper's")
    figure.axes[0].set_ylabel(f"Dice against {LABELS[against]}")
    figure.axes[0].legend(fontsize=8, loc="lower left")
    return figure


LABELS = {"noisy": "noisy labels", "clean": "the clean label", "marginal": "E[L]"}


def calibration(results: Sequence[Result]) -> Figure:
    """What share is foreground, by E[L] and by noisy labels, where a network says p."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        run = result.settings
        if run.noise or run.data == "raters":
            groups.setdefault((organ_rank(run.organ), run.noise, run.organ), []).append(result)
    if not groups:
        raise ValueError("calibration curves need results with noise, got none")
    figure = Figure(figsize=(4.2 * len(groups) + 0.4, 3.8), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axis, (key, group) in zip(panels, sorted(groups.items()), strict=True):
        axis.plot([0, 1], [0, 1], color="gray", lw=1)
        for loss in dict.fromkeys(sorted(result.settings.loss for result in group)):
            sums = {
                name: sum(r.reliability[name] for r in group if r.settings.loss == loss)
                for name in group[0].reliability
            }
            full = sums["voxels"] >= 20  # fewer say nothing
            x, marginal, label = (
                sums[name][full] / sums["voxels"][full]
                for name in ("probability", "marginal", "labels")
            )
            (line,) = axis.plot(x, marginal, marker="o", ms=4, label=f"{loss}, E[L]")
            axis.plot(x, label, "x", color=line.get_color(), label=f"{loss}, noisy labels")
        axis.set(title=f"{key[2]}, a = {key[1]:g}", xlabel="probability", xlim=(0, 1), ylim=(0, 1))
        axis.legend(fontsize=8)
    figure.axes[0].set_ylabel("share of foreground")
    return figure


def figure_1(label: np.ndarray, amplitudes: Sequence[float], seed: int = 0) -> Figure:
    """Figure 1 of any 2D shape: samples, marginals and optimal masks; a column per amplitude."""
    if label.ndim != 2 or not label.any():
        raise ValueError(f"the shape must be a 2D mask with some foreground, got {label.shape}")
    clean = (label != 0).astype(np.uint8)
    panel, ratio = 2.0, min(max(label.shape[0] / label.shape[1], 0.3), 3.0)
    size = (panel * len(amplitudes) + 0.6, panel * ratio * len(FIGURE_1) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(FIGURE_1), len(amplitudes), squeeze=False)
    for column, amplitude in zip(panels.T, amplitudes, strict=True):
        noise = gfnoise.GaussianField(amplitude, LENGTH_SCALE, spacing="unit", ndim=2)
        marginal = noise.marginals(clean)
        images = (
            noise.sample_labels(clean, seed=seed, n=SAMPLES).mean(0),
            marginal,
            marginal >= 0.5,
            gfnoise.optimal_segmentation(marginal),
        )
        for axis, image in zip(column, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.contour(clean, [0.5], colors="tab:red", linewidths=0.7)
            axis.set(xticks=[], yticks=[])
        column[0].set_title(f"a = {amplitude:g}")
    for axis, text in zip(panels[:, 0], FIGURE_1, strict=True):
        axis.set_ylabel(text)
    return figure


def phantoms(size: int, number: int = 0) -> Figure:
    """A phantom of each organ, with its clean border: a slice across and one along."""
    figure = Figure(figsize=(2.4 * len(ORGANS), 5), layout="constrained")
    for column, organ in zip(figure.subplots(2, len(ORGANS)).T, ORGANS, strict=True):
        case = Phantoms(organ, number + 1, size)[number]
        column[0].set_title(organ)
        for axis, cut in zip(column, (np.s_[size // 2], np.s_[:, size // 2]), strict=True):
            axis.imshow(case.image[cut], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            if case.label[cut].any():
                axis.contour(case.label[cut], [0.5], colors="tab:red", linewidths=0.7)
            axis.set(xticks=[], yticks=[])
    return figure


def star(size: int = 256) -> np.ndarray:
    """A shape with corners, a thin arm and a hole, where no other is given."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    body = radius < 0.2 + 0.08 * np.cos(5 * angle)
    arm = (np.abs(y + 0.05) < 0.012) & (x > 0) & (x < 0.42)
    hole = np.hypot(y - 0.04, x + 0.03) < 0.045
    return ((body & ~hole) | arm) & (math.sqrt(0.2) > radius)
