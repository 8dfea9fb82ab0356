"""The arguments of the commands, and what `--help` says of them."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from .._decisions import METRICS
from .._shared.modes import OF_LABELS
from ..raters import METHODS

_LENGTHS = """\
Lengths are in mm; the voxel size is read from the file (give --spacing for .npy, which has none),
or --units voxels. Files: .nii, .nii.gz, .nrrd, .npy."""

ABOUT = """\
Noisy segmentation labels by Gaussian field deformations, and what theory says of them.

  gfnoise sample label.nii.gz -o noisy --amplitude 2 --length-scale 8 -n 5
  gfnoise marginals label.nii.gz -o marginal.nii.gz --amplitude 2
  gfnoise threshold marginal.nii.gz -o mask.nii.gz
  gfnoise fit rater1.nii.gz rater2.nii.gz rater3.nii.gz

amplitude is how far a border moves (the standard deviation of the displacement), length scale how
far apart two points are that still move together. `gfnoise COMMAND --help` says more.
"""


_REPLACED = "replaced if it is there"
_FOLDER = "for a folder of files, a folder"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gfnoise",
        description=ABOUT,
        epilog=_LENGTHS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gfnoise {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (text, add) in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=None if name in ("info", "bench") else _LENGTHS,
        )
        add(one)
        one.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="a label file, or a folder of them")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the copies go"
    )
    parser.add_argument(
        "-n", "--copies", type=_count, default=1, help="noisy copies of each file (default: 1)"
    )
    _model(parser)
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="of the noise, which follows from it, from the file's name and from the copy's "
        "number (default: 0)",
    )
    parser.add_argument(
        "--order",
        type=int,
        choices=(0, 1),
        default=0,
        help="0: the label of the nearest voxel (default); 1: its neighbours vote, smoother",
    )
    _outside(parser)
    _resumed(parser)


def _marginals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="a label file, or a folder of them")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help=f"the map's file, {_REPLACED}; {_FOLDER}"
    )
    _amplitude(parser)
    _units(parser)
    _foreground(parser)
    _outside(parser)
    _resumed(parser)


def _threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="a file of probabilities, or a folder of them")
    parser.add_argument(
        "-o", "--output", type=Path, help=f"the mask's file, {_REPLACED}; {_FOLDER}"
    )
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default="dice",
        help="what the mask shall be best at, against the probabilities (default: dice)",
    )
    parser.add_argument(
        "--beta", type=_positive, help="for fbeta: the weight of recall (default: 1)"
    )
    parser.add_argument(
        "--volume", type=_share, help="for volume: the share of the voxels (default: the mean)"
    )
    _resumed(parser)


def _fuse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, nargs="+", help="the raters' label files of one image")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help=f"the fused file, {_REPLACED}",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="staple",
        help="average: a map of the raters' share; the others: a label (default: staple)",
    )
    parser.add_argument("--seed", type=_seed, help="for random: which rater is drawn")
    _foreground(parser)


def _fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", type=Path, nargs="+", help="two or more raters' label files of one structure"
    )
    _units(parser)
    _foreground(parser)
    parser.add_argument("--seed", type=_seed, default=0, help="of the simulations (default: 0)")


def _figure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="a label file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help=f"the picture: .png, .pdf or .svg, {_REPLACED}",
    )
    parser.add_argument(
        "--amplitudes",
        type=_sizes,
        action=_Joined,
        nargs="+",
        default=[1.0, 2.0, 4.0],
        metavar="A",
        help="one column each (default: 1 2 4)",
    )
    parser.add_argument(
        "--length-scale", type=_positive, default=10.0, metavar="B", help="(default: 10)"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of the noise (default: 0)")
    parser.add_argument(
        "--axis",
        type=int,
        help="which axis to cut across (default: the last, or 0 where the file has no affine)",
    )
    parser.add_argument(
        "--slice", type=_natural, help="which slice (default: that with the largest area)"
    )
    _units(parser)
    _foreground(parser)


def _info(parser: argparse.ArgumentParser) -> None:
    """Nothing but --json."""


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=_integer(8, 2048),
        default=96,
        help="voxels per side of the cube (default: 96)",
    )
    parser.add_argument(
        "--repeats", type=_count, default=5, help="of which the median is taken (default: 5)"
    )


def _model(parser: argparse.ArgumentParser) -> None:
    _amplitude(parser)
    parser.add_argument(
        "--length-scale",
        type=_positive,
        required=True,
        metavar="B",
        help="correlation length of the displacement",
    )
    _units(parser)


def _amplitude(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--amplitude",
        type=_not_negative,
        required=True,
        metavar="A",
        help="standard deviation of the displacement",
    )


def _units(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--units", choices=("mm", "voxels"), default="mm", help="of all lengths (default: mm)"
    )
    parser.add_argument(
        "--spacing",
        type=_sizes,
        action=_Joined,
        nargs="+",
        metavar="S",
        help="voxel size in mm in place of the file's, one for all axes, or one for each, with "
        "spaces or commas between: x y z for NIfTI and NRRD, the array's order for .npy",
    )


def _foreground(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", type=int, help="the foreground, where a file holds several labels"
    )


def _outside(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=OF_LABELS,
        default="constant",
        help="outside of the image is background (default), or like the nearest voxel",
    )
    parser.add_argument(
        "--ignore-index", type=int, metavar="K", help="a label that stays exactly where it is"
    )


def _resumed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="where the output is a folder: make anew what is there, whoever made it; without it, "
        "a run that was stopped goes on and other files are left as they are",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _number(expected: str, good: Callable[[float], bool]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and good(value)):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return read


def _sizes(text: str) -> list[float]:
    """Positive numbers between commas."""
    try:
        return [_positive(part) for part in text.removesuffix(",").split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected positive numbers, got {text!r}") from None


class _Joined(argparse.Action):
    """One list of those that the arguments hold."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        setattr(namespace, self.dest, [one for part in values for one in part])


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected an integer from {least} to {most}, got {text!r}"
            )
        return value

    return read


_positive = _number("a positive number", lambda x: x > 0)
_not_negative = _number("a number of at least 0", lambda x: x >= 0)
_share = _number("a number from 0 to 1", lambda x: 0 <= x <= 1)
_count = _integer(1, 100_000)
_natural = _integer(0, (1 << 62) - 1)
_seed = _integer(0, (1 << 63) - 1)

COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "sample": ("noisy copies of labels", _sample),
    "marginals": ("the probability of foreground under the noise, in closed form", _marginals),
    "threshold": ("probabilities to the mask that is best for them", _threshold),
    "fuse": ("one label, or a map, of several raters' labels", _fuse),
    "fit": ("amplitude and length scale that several raters' labels show", _fit),
    "figure": ("a picture of a label under noise: samples, marginals and optimal masks", _figure),
    "info": ("versions, devices, the kernels' cache, and what else can be installed", _info),
    "bench": ("how fast this machine is, beside SciPy", _bench),
}
