"""What the commands do: files in, files and a dict out."""

import argparse
import hashlib
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _seeds, io
from ..field import GaussianField
from ..io import FileError, Image
from ..raters import fit_field, fuse_raters
from ..thresholding import optimal_segmentation, optimal_threshold, score
from . import _doubts, _folders
from ._jobs import Job, Result, one_to_one, run

_ROUNDED = 0.01  # relative: a voxel size as somebody types it


def sample(args: argparse.Namespace) -> Result:
    """Noisy copies of a file or of a folder's files."""
    _check_units(args)
    jobs = [
        Job(path, name, [args.output / _folders.numbered(name, i) for i in range(args.copies)])
        for path, name in _folders.sources(args.input, args.output)
    ]
    settings = _settings(args, "amplitude", "length_scale", "units", "spacing", "seed", "order")
    drawn = {"version of the random streams": _seeds.STREAMS_VERSION}
    small: list[str] = []

    def work(job: Job, due: list[int]) -> Result:
        label = io.read_labels(job.source)
        field = _field(args, label, args.length_scale)
        small.extend(_doubts.of_size(args.amplitude, label, _spacing(args, label), args.units))
        seeds = [_seed(args.seed, job.name, i) for i in due]
        for i, seed in zip(due, seeds, strict=True):
            noisy = field.sample_labels(
                label.data,
                seed=seed,
                order=args.order,
                mode=args.mode,
                ignore_index=args.ignore_index,
            )
            job.write(i, _as(label.dtype, noisy), label)
        return {"spacing": label.spacing, "seeds": seeds}

    result = run(args, "sample", args.output, jobs, settings, work, drawn)
    folds = _doubts.of_folds(args.amplitude, args.length_scale)
    return result | {"warnings": folds + _doubts.first(small)}


def marginals(args: argparse.Namespace) -> Result:
    """The marginals of a file or of a folder's files."""
    _check_units(args)
    if args.label is not None and args.label == args.ignore_index:
        raise ValueError(f"--label must not be the --ignore-index, got {args.label} for both")
    settings = _settings(args, "amplitude", "units", "spacing", "label")
    small: list[str] = []

    def work(job: Job, due: list[int]) -> Result:
        label = io.read_labels(job.source)
        field = _field(args, label, 1.0)
        small.extend(_doubts.of_size(args.amplitude, label, _spacing(args, label), args.units))
        values, ignored = _binary(label, args.label, args.ignore_index)
        marginal = field.marginals(values, mode=args.mode, ignore_index=ignored)
        job.write(0, marginal, label)
        return {
            "label_volume": int((values == 1).sum()),
            "mean_volume": float(marginal.sum(dtype=np.float64)),
        }

    result = run(args, "marginals", *one_to_one(args), settings, work)
    return result | {"warnings": _doubts.first(small)}


def threshold(args: argparse.Namespace) -> Result:
    """The optimal masks of a file or of a folder's files, and what is to know of them."""
    if args.volume is not None and args.metric != "volume":
        raise ValueError(f"--volume goes with --metric volume, got --metric {args.metric}")
    if args.beta is not None and args.metric != "fbeta":
        raise ValueError(f"--beta goes with --metric fbeta, got --metric {args.metric}")
    beta = 1.0 if args.beta is None else args.beta
    options = {"metric": args.metric, "beta": beta, "volume": args.volume}
    folder, jobs = (None, []) if args.output is None else one_to_one(args)
    if args.output is None:
        jobs = [Job(path, name, []) for path, name in _folders.sources(args.input, None)]

    def work(job: Job, due: list[int]) -> Result:
        map_ = io.read_map(job.source)
        ndim = map_.data.ndim
        at = float(optimal_threshold(map_.data, **options, ndim=ndim))
        mask = optimal_segmentation(map_.data, **options, ndim=ndim)
        if due:
            job.write(0, mask, map_)
        voxel = None if map_.spacing is None else math.prod(map_.spacing)
        half = map_.data >= 0.5
        return {
            "threshold": at,
            "dice": float(score(mask, map_.data, ndim=ndim)),
            "volume": int(mask.sum()),
            "mean_volume": float(map_.data.sum(dtype=np.float64)),
            "dice_at_half": float(score(half, map_.data, ndim=ndim)),
            "volume_at_half": int(half.sum()),
            "voxel_volume": voxel,
            "unit": None if voxel is None else ("mm²", "mm³")[ndim == 3],
        }

    return run(args, "threshold", folder, jobs, options, work)


def fuse(args: argparse.Namespace) -> Result:
    """One file of several raters'."""
    if args.method == "random" and args.seed is None:
        raise ValueError("--method random needs a --seed")
    if args.method != "random" and args.seed is not None:
        raise ValueError(f"--seed goes with --method random, got --method {args.method}")
    if _folders.real(args.output) in map(_folders.real, args.input):
        raise FileError(f"{args.output}: expected another file than the raters'")
    images = _raters(args.input)
    values = np.arange(2)  # what the codes in `masks` stand for
    several = args.label is None and args.method in ("majority", "random", "staple")
    masks = (
        _stack(images)
        if several
        else np.stack([_binary(one, args.label, None)[0] for one in images])
    )
    volumes = [int((one != 0).sum()) for one in masks]
    if several and args.method == "staple":
        masks, values = _codes(masks)
    fused = fuse_raters(
        masks,
        args.method,
        ndim=masks.ndim - 1,
        num_classes=len(values) if len(values) > 2 else None,
        seed=args.seed,
    )
    if args.method == "staple":
        fused = values[fused]
    own = np.dtype(np.float32) if args.method == "average" else images[0].dtype
    _folders.make(args.output.parent)
    io.write(args.output, _as(own, fused), images[0])
    return {
        "method": args.method,
        "output": args.output,
        "rater_volumes": volumes,
        "volume": float(fused.sum()) if args.method == "average" else int((fused != 0).sum()),
    }


def fit(args: argparse.Namespace) -> Result:
    """The noise model of several raters."""
    _check_units(args)
    images = _raters(args.input)
    masks = np.stack([_binary(one, args.label, None)[0] for one in images])
    spacing = _spacing(args, images[0])
    found = fit_field(masks, spacing=spacing, seed=args.seed)
    names = ("amplitude", "amplitude_error", "length_scale", "length_scale_error")
    return {
        **{name: float(getattr(found, name)) for name in names},
        "units": args.units,
        "raters": len(images),
    }


def figure(args: argparse.Namespace) -> Result:
    """A picture of a label under noise."""
    _check_units(args)
    if args.output.suffix.lower() not in io.PICTURES:
        raise FileError(f"{args.output}: expected a .png, .pdf or .svg file")
    draw = _module("gfnoise.cli._figure", "figure", "matplotlib").draw
    label = io.read_labels(args.input)
    mask, _ = _binary(label, args.label, None)
    if not mask.any():
        raise FileError(f"{args.input}: expected some foreground, got none")
    ndim = mask.ndim
    axis = args.axis if args.axis is not None else (ndim - 1 if label.affine is not None else 0)
    if ndim == 3 and not 0 <= axis < 3:
        raise ValueError(f"--axis must be 0, 1 or 2, got {axis}")
    if args.slice is not None and (ndim == 2 or args.slice >= mask.shape[axis]):
        most = mask.shape[axis] - 1 if ndim == 3 else "none, of a 2D label"
        raise ValueError(f"--slice must be at most {most}, got {args.slice}")
    spacing = _spacing(args, label)
    shown = draw(
        mask.astype(bool),
        spacing,
        args.amplitudes,
        args.length_scale,
        seed=args.seed,
        axis=axis if ndim == 3 else None,
        slice_=args.slice,
        upright=label.affine is not None,
        name=args.input.name,
        label=args.label,
        unit=args.units,
        sizes=label.spacing if args.units == "voxels" else spacing,
        output=args.output,
    )
    most = max(args.amplitudes)
    return {
        "output": args.output,
        "axis": axis if ndim == 3 else None,
        "slice": shown,
        "warnings": _doubts.of_folds(most, args.length_scale)
        + _doubts.of_size(most, label, spacing, args.units),
    }


def info(args: argparse.Namespace) -> Result:
    """Versions, devices, cache, and what is missing."""
    found: Result = importlib.import_module("gfnoise.cli._machine").describe()
    return found


def bench(args: argparse.Namespace) -> Result:
    """Times on this machine, beside SciPy's."""
    found: Result = _module("gfnoise.cli._bench", "bench", "scipy").run(args.size, args.repeats)
    return found


# --- the noise model of a file ------------------------------------------------------------------


def _field(args: argparse.Namespace, label: Image, length_scale: float) -> GaussianField:
    return GaussianField(
        args.amplitude, length_scale, spacing=_spacing(args, label), ndim=label.data.ndim
    )


def _check_units(args: argparse.Namespace) -> None:
    if args.units == "voxels" and args.spacing is not None:
        raise ValueError("--spacing goes with --units mm, got --units voxels")


def _spacing(args: argparse.Namespace, image: Image) -> tuple[float, ...]:
    """Voxel size per axis in the unit that the user counts in."""
    ndim = image.data.ndim
    if args.units == "voxels":
        return (1.0,) * ndim
    if args.spacing is not None:
        if len(args.spacing) not in (1, ndim):
            raise ValueError(
                f"--spacing must be one number, or {ndim} for {image.path}, got {args.spacing}"
            )
        if len(args.spacing) == 1:
            return tuple(args.spacing) * ndim
        _check_order(args.spacing, image)
        return tuple(args.spacing)
    if image.spacing is None:
        raise FileError(f"{image.path}: has no voxel size: give --spacing in mm, or --units voxels")
    return image.spacing


def _check_order(sizes: list[float], image: Image) -> None:
    """Raise FileError where sizes are the header's, but of other axes: z, y, x for x, y, z."""
    if image.spacing is None:
        return
    same = np.isclose(sizes, image.spacing, rtol=_ROUNDED, atol=0).all()
    if same or not np.isclose(sorted(sizes), sorted(image.spacing), rtol=_ROUNDED, atol=0).all():
        return
    header, given = (" ".join(f"{one:g}" for one in each) for each in (image.spacing, sizes))
    axes = " ".join("xyz"[: len(sizes)])
    raise FileError(
        f"{image.path}: --spacing must be in the order of the header, {axes}, which says "
        f"{header}, got {given}"
    )


def _binary(
    image: Image, label: int | None, ignore_index: int | None
) -> tuple[NDArray[Any], int | None]:
    """Labels as 0, 1 and, where some are to be ignored, 2."""
    data = image.data
    values = [int(one) for one in np.unique(data) if one != 0 and one != ignore_index]
    if label is None and len(values) > 1:
        listed = ", ".join(map(str, values[:8])) + ", ..." * (len(values) > 8)
        raise FileError(f"{image.path}: holds the labels {listed}: say which with --label")
    binary = (data == label if label is not None else data != 0).astype(np.uint8)
    if ignore_index is None:
        return binary, None
    binary[data == ignore_index] = 2
    return binary, 2


def _stack(images: list[Image]) -> NDArray[Any]:
    """The raters' labels in one array of an integer dtype."""
    labels = [one.data for one in images]
    dtype = np.result_type(*labels)
    if dtype.kind == "f":  # of uint64 and a signed one
        dtype = np.dtype(np.int64)
        for one in images:
            if int(one.data.max()) >= 1 << 63:
                raise FileError(f"{one.path}: expected labels below 2**63, got {one.data.max()}")
    return np.stack([one.astype(dtype, copy=False) for one in labels])


def _codes(masks: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels by their place among those that occur, and those; 0 is always one."""
    values = np.unique(np.concatenate([np.zeros(1, masks.dtype), *map(np.unique, masks)]))
    codes = np.empty(masks.shape, np.uint8 if len(values) <= 256 else np.uint32)
    for code, mask in zip(codes, masks, strict=True):
        code[...] = np.searchsorted(values, mask)
    return codes, values


def _as(dtype: np.dtype[Any], data: NDArray[Any]) -> NDArray[Any]:
    """The labels in the dtype of the file that they are of, if it can hold them."""
    with np.errstate(over="ignore"):  # float16 ends at 65504
        cast = data.astype(dtype, copy=False)
    return cast if np.array_equal(cast, data) else data


def _raters(paths: list[Path]) -> list[Image]:
    """Two or more labels of one image."""
    for path in paths:
        if path.is_dir():
            raise FileError(f"{path}: expected a rater's label file, got a folder")
    if len(paths) < 2:
        raise ValueError(f"input must be the files of two raters or more, got {len(paths)}")
    images = [io.read_labels(path) for path in paths]
    for one in images[1:]:
        images[0].check_pair(one)
    return images


def _seed(seed: int, name: str, copy: int) -> int:
    """The seed of a copy: it depends on the file's name, not on its place among others."""
    text = f"{seed}\n{name}\n{copy}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def _settings(args: argparse.Namespace, *names: str) -> Result:
    """What the results depend on."""
    return {name: getattr(args, name) for name in (*names, "mode", "ignore_index")}


def _module(name: str, command: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "gfnoise":
            raise
        raise ImportError(f"{command} needs {package}: pip install 'gfnoise[cli]'") from error


RUN: dict[str, Callable[[argparse.Namespace], Result]] = {
    "sample": sample,
    "marginals": marginals,
    "threshold": threshold,
    "fuse": fuse,
    "fit": fit,
    "figure": figure,
    "info": info,
    "bench": bench,
}
