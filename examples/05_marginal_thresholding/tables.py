"""Tables of results, laid out as Table 1 of Nordström et al. 2023, its figures beside; tests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import VERSION
from gfnoise import GaussianField, optimal_segmentation, score
from phantoms import Phantoms
from settings import LENGTH_SCALE, Settings

METHODS = {  # name: the loss, and the decision on the prediction
    "CE(1/2)": ("ce", "half"),
    "SD(1/2)": ("soft-dice", "half"),
    "CE(m)": ("ce", "optimal"),
}
ALIASES = {"kidney_right": "kidney"}
PAPER = {  # their CE(1/2), SD(1/2), CE(m); Dice with noisy labels, 5 folds
    ("kidney", 0.00): (0.9611, 0.9634, 0.9615),
    ("kidney", 0.01): (0.8762, 0.8794, 0.8774),
    ("kidney", 0.02): (0.7883, 0.7914, 0.7909),
    ("kidney", 0.03): (0.6947, 0.7080, 0.7055),
    ("aorta", 0.00): (0.9525, 0.9515, 0.9524),
    ("aorta", 0.01): (0.8639, 0.8654, 0.8653),
    ("aorta", 0.02): (0.7557, 0.7569, 0.7600),
    ("aorta", 0.03): (0.6215, 0.6513, 0.6560),
    ("esophagus", 0.00): (0.8552, 0.8603, 0.8602),
    ("esophagus", 0.01): (0.6671, 0.6722, 0.6814),
    ("esophagus", 0.02): (0.4168, 0.4527, 0.4329),
    ("esophagus", 0.03): (0.1441, 0.3105, 0.3489),
}


@dataclass(frozen=True, eq=False)
class Result:
    """A result file: what was trained, and every case's scores."""

    settings: Settings
    scores: dict[str, np.ndarray]
    reliability: dict[str, np.ndarray]
    raw: dict[str, Any]


def load_results(path: Path) -> list[Result]:
    """Read a folder of runs, or one file that `--save` made of them."""
    if path.is_dir():
        files = sorted(path.glob("*/result.json"))
        raws = [json.loads(file.read_text()) for file in files]
    else:
        raws = json.loads(path.read_text())["results"]
    if not raws:
        raise ValueError(f"{path} holds no result.json: has a network been trained?")
    versions = {raw["version"] for raw in raws} - {VERSION}
    if versions:
        raise ValueError(f"{path} holds results of version {versions}, expected {VERSION}")
    return [
        Result(
            Settings.from_json(raw["settings"]),
            *({k: np.array(v) for k, v in raw[part].items()} for part in ("scores", "reliability")),
            raw,
        )
        for raw in raws
    ]


@dataclass(frozen=True, eq=False)
class Cell:
    """One method at one noise level: a mean per fold, and the cases behind them."""

    folds: dict[int, np.ndarray]  # the cases' scores

    @property
    def means(self) -> np.ndarray:
        """One per fold."""
        return np.array([scores.mean() for scores in self.folds.values()])

    @property
    def mean(self) -> float:
        """Over the folds."""
        return float(self.means.mean()) if self.folds else math.nan

    @property
    def error(self) -> float:
        """Standard error over the folds; NaN of one."""
        return spread(self.means)


def spread(values: np.ndarray) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


Row = tuple[str, float]


def cells(results: Iterable[Result], against: str = "noisy") -> dict[Row, dict[str, Cell]]:
    """Sort results into organs, noise levels and methods.

    Besides the methods there are "theory 1/2" and "theory Dice": what the closed-form marginal
    gives on the same cases.
    """
    table: dict[Row, dict[str, Cell]] = {}
    for result in results:
        run = result.settings
        row = table.setdefault((run.organ, run.noise), {})
        names = [(name, how) for name, (loss, how) in METHODS.items() if loss == run.loss]
        names += [("theory 1/2", "theory_half"), ("theory Dice", "theory_optimal")]
        for name, how in names:
            cell = row.setdefault(name, Cell({}))
            if run.fold in cell.folds and not name.startswith("theory"):
                raise ValueError(
                    f"several results are {name} of {run.organ}, noise {run.noise:g}, fold "
                    f"{run.fold}: --where must choose, as in --where targets=noisy,size=32"
                )
            cell.folds[run.fold] = result.scores[f"{how}_{against}"]
    return dict(sorted(table.items(), key=lambda item: (organ_rank(item[0][0]), item[0][1])))


def organ_rank(organ: str) -> tuple[int, str]:
    """In the paper's order."""
    order = ("kidney", "aorta", "esophagus")
    name = ALIASES.get(organ, organ)
    return (order.index(name) if name in order else len(order)), organ


def where(results: Sequence[Result], text: str) -> list[Result]:
    """Those whose settings are as said: "targets=noisy,size=32"."""
    wanted = dict(part.split("=", 1) for part in text.split(",")) if text else {}
    unknown = set(wanted) - set(Settings.__dataclass_fields__)
    if unknown:
        raise ValueError(f"--where: no setting is called {', '.join(sorted(unknown))}")
    return [r for r in results if all(str(getattr(r.settings, k)) == v for k, v in wanted.items())]


def markdown(table: dict[Row, dict[str, Cell]], against: str) -> str:
    """The table, with the paper's figures beside where the labels are the paper's."""
    heads = [*METHODS, "theory 1/2", "theory Dice"]
    lines = [
        "| organ | a | folds | " + " | ".join(heads) + " | paper: " + ", ".join(METHODS) + " |"
    ]
    lines.append("|---|---|---|" + "---|" * (len(heads) + 1))
    for (organ, noise), row in table.items():
        counts = sorted({len(row[name].folds) for name in METHODS if name in row})
        listed = "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        entries = [shown(row.get(name)) for name in heads]
        paper = PAPER.get((ALIASES.get(organ, organ), noise)) if against == "noisy" else None
        beside = ", ".join(f"{value:.4f}" for value in paper) if paper else "-"
        lines.append(f"| {organ} | {noise:g} | {listed} | {' | '.join(entries)} | {beside} |")
    return "\n".join(lines)


def shown(cell: Cell | None) -> str:
    """Mean and standard error."""
    if cell is None or not cell.folds:
        return "-"
    error = "" if math.isnan(cell.error) else f" ± {cell.error:.4f}"
    return f"{cell.mean:.4f}{error}"


def comparisons(table: dict[Row, dict[str, Cell]]) -> str:
    """Differences between methods, over folds, and Wilcoxon's test, over the cases of all folds.

    The test takes cases as independent. Cases of one fold share their network: what speaks for
    itself is the difference and its standard error over the folds.
    """
    lines = ["| organ | a | methods | difference | t | cases | Wilcoxon p |", "|---|" + "---|" * 6]
    for (organ, noise), row in table.items():
        pairs = (("SD(1/2)", "CE(1/2)"), ("CE(m)", "CE(1/2)"), ("CE(m)", "SD(1/2)"))
        for first, second in pairs:
            if first not in row or second not in row:
                continue
            differences = paired(row[first], row[second])
            if not differences:
                continue
            means = np.array([one.mean() for one in differences])
            error = spread(means)
            every = np.concatenate(differences)
            t = "-" if not error > 0 else f"{means.mean() / error:.1f}"
            shown_error = "" if math.isnan(error) else f" ± {error:.4f}"
            lines.append(
                f"| {organ} | {noise:g} | {first} - {second} | {means.mean():+.4f}{shown_error} | "
                f"{t} | {len(every)} | {wilcoxon(every):.1e} |"
            )
    return "\n".join(lines)


def paired(first: Cell, second: Cell) -> list[np.ndarray]:
    """The cases' differences, in the folds that both have."""
    both = [fold for fold in first.folds if fold in second.folds]
    return [first.folds[fold] - second.folds[fold] for fold in both]


def wilcoxon(differences: np.ndarray) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test; 1 of no differences."""
    from scipy.stats import wilcoxon as test

    if not differences.any():
        return 1.0
    return float(test(differences).pvalue)


def theory(size: int, count: int) -> str:
    """What closed-form marginals of phantoms give: the Dice against them, D_m, of two decisions."""
    lines = ["| organ | a | E[L] >= 1/2 | Dice-optimal | paper: " + ", ".join(METHODS) + " |"]
    lines.append("|---|" + "---|" * 4)
    labels: dict[str, list[np.ndarray]] = {}
    for (organ, noise), paper in PAPER.items():
        if organ not in labels:
            labels[organ] = [case.label for case in Phantoms(organ, count, size)]
        field = GaussianField(noise, LENGTH_SCALE, spacing="unit", ndim=3)
        found = []
        for label in labels[organ]:
            marginal = field.marginals(label)
            masks = marginal >= 0.5, optimal_segmentation(marginal)
            found.append([float(score(mask, marginal)) for mask in masks])
        half, best = (shown(Cell(dict(enumerate(column[:, None])))) for column in np.array(found).T)
        beside = ", ".join(f"{value:.4f}" for value in paper)
        lines.append(f"| {organ} | {noise:g} | {half} | {best} | {beside} |")
    return "\n".join(lines)


def briers(results: Sequence[Result]) -> str:
    """How near probabilities come to E[L]: mean squared differences."""
    lines = [
        "| organ | a | loss | mean (p - E[L])² | of the best constant | explained | mean (p - L)² "
        "| of E[L] itself |",
        "|---|" + "---|" * 7,
    ]
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        run = result.settings
        key = (organ_rank(run.organ), run.organ, run.noise, run.loss)
        groups.setdefault(key, []).append(result)
    for (_, organ, noise, loss), group in sorted(groups.items()):
        names = ("brier", "brier_constant", "brier_noisy", "brier_noise")
        found, constant, label, least = (
            float(np.mean([result.scores[name].mean() for result in group])) for name in names
        )
        lines.append(
            f"| {organ} | {noise:g} | {loss} | {found:.2e} | {constant:.2e} | "
            f"{1 - found / constant:.3f} | {label:.2e} | {least:.2e} |"
        )
    return "\n".join(lines)
