"""Tables and pictures of what `experiment.py` found; of partial results as well.

    python examples/05_marginal_thresholding/make_report.py table runs/cpu
    python examples/05_marginal_thresholding/make_report.py table runs/cpu --against clean
    python examples/05_marginal_thresholding/make_report.py curves runs/cpu --output curves.png
    python examples/05_marginal_thresholding/make_report.py calibration runs/cpu
    python examples/05_marginal_thresholding/make_report.py figure1 --shape mask.npy
    python examples/05_marginal_thresholding/make_report.py theory --size 32
    python examples/05_marginal_thresholding/make_report.py phantoms
    python examples/05_marginal_thresholding/make_report.py save runs/cpu --output cpu.json

Results are a folder of runs, or the one file that `save` makes of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pictures
import tables
from experiment import listed
from training import write

AGAINST = ("noisy", "clean", "marginal")


def main(argv: Sequence[str] | None = None) -> int:
    """Make one table or picture; the exit status is 0, or 2 for a bad argument."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        if args.what == "theory":
            print(tables.theory(args.size, args.count))
            return 0
        if args.what == "figure1":
            figure = pictures.figure_1(shape(args.shape), args.amplitudes, args.seed)
        elif args.what == "phantoms":
            figure = pictures.phantoms(args.size)
        else:
            results = tables.where(tables.load_results(args.results), args.where)
            if not results:
                raise ValueError(f"--where: no result has {args.where}")
            if args.what == "table":
                print(report(results, args.against))
                return 0
            if args.what == "save":
                text = json.dumps({"results": [one.raw for one in results]}) + "\n"
                write(args.output, lambda file: file.write(text.encode()))
                return 0
            if args.what == "curves":
                figure = pictures.curves(tables.cells(results, args.against), args.against)
            else:
                figure = pictures.calibration(results)
        figure.savefig(args.output, dpi=120)
        print(f"Picture: {args.output}")
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def report(results: Sequence[tables.Result], against: str) -> str:
    """All tables."""
    table = tables.cells(results, against)
    return "\n".join(
        [
            f"Dice against {pictures.LABELS[against]}, mean ± standard error over folds",
            "",
            tables.markdown(table, against),
            "",
            tables.comparisons(table),
            "",
            tables.briers(results),
        ]
    )


def shape(path: Path | None) -> np.ndarray:
    """The user's shape: an array, or a picture whose light is foreground."""
    if path is None:
        return pictures.star()
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    from matplotlib.image import imread

    image = imread(path)
    return image[..., :3].mean(-1) > image.max() / 2 if image.ndim == 3 else image > image.max() / 2


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="what", required=True)
    for what in ("table", "curves", "calibration", "save"):
        kind = kinds.add_parser(what)
        kind.add_argument("results", type=Path, help="a folder of runs, or a saved file")
        kind.add_argument("--where", default="", help="choose results, as targets=noisy,size=32")
        if what in ("table", "curves"):
            kind.add_argument("--against", choices=AGAINST, default="noisy")
        if what != "table":
            default = {"save": "results.json"}.get(what, f"{what}.png")
            kind.add_argument("--output", type=Path, default=Path(default))
    theory = kinds.add_parser("theory")
    theory.add_argument("--size", type=int, default=64, help="voxels a side of the phantoms")
    theory.add_argument("--count", type=int, default=24, help="phantoms of each organ")
    drawn = kinds.add_parser("phantoms")
    drawn.add_argument("--size", type=int, default=64, help="voxels a side")
    drawn.add_argument("--output", type=Path, default=Path("phantoms.png"))
    first = kinds.add_parser("figure1")
    first.add_argument("--shape", type=Path, help="a 2D mask: .npy, or a picture (default: a star)")
    first.add_argument("--amplitudes", type=listed(float), default=(0.0, 0.01, 0.02, 0.03, 0.05))
    first.add_argument("--seed", type=int, default=0)
    first.add_argument("--output", type=Path, default=Path("figure1.png"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
