"""Folders of NIfTI files as cases: TotalSegmentator's layout, and cases with several raters."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from phantoms import WINDOW, Case
from training import write

FACTOR = 2  # of the images' resolution
SUFFIX = ".nii.gz"
Reader = Callable[[Path, str, int], Case]


class BadCase(Exception):
    """A case that cannot be used, and why."""


def load_folder(
    root: Path,
    read: Reader,
    organ: str,
    size: int,
    *,
    most: int | None = None,
    skip: bool = False,
    cache: Path | None = None,
) -> list[Case]:
    """Read the cases of a folder, in the order of their names.

    Parameters
    ----------
    root : Path
        A folder with one folder per case.
    read : callable
        `read_totalsegmentator` or `read_raters`.
    organ : str
        For `read_totalsegmentator`, a file's name in `segmentations/` without its ending.
    size : int
        Voxels a side of the patches.
    most : int, optional
        How many cases to take.
    skip : bool, default False
        Name bad cases on stderr and go on; else raise `BadCase` at the first.
    cache : Path, optional
        Where to keep patches: reading them again takes no time.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    folders = sorted(one for one in root.iterdir() if one.is_dir() and one.name[0] != ".")
    if read is read_totalsegmentator:
        _check_organ(folders, organ)
    cases: list[Case] = []
    bar = tqdm(folders, desc=f"reading {root.name}", disable=None)
    for folder in bar:
        if most is not None and len(cases) == most:
            break
        try:
            cases.append(_cached(folder, read, organ, size, cache))
        except BadCase as problem:
            if not skip:
                raise
            print(f"skipped: {problem}", file=sys.stderr)
    bar.close()
    if not cases:
        raise BadCase(f"{root} holds no case that can be used, of {len(folders)} folders")
    return cases


def folds(count: int, parts: int, size: int, part: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train and to test on: `parts` folds of `size` cases, in an order by the seed."""
    if count < parts * size:
        raise ValueError(f"{parts} folds of {size} need {parts * size} cases, got {count}")
    order = np.random.default_rng(seed).permutation(count)[: parts * size].tolist()
    test = order[part * size : (part + 1) * size]
    return [index for index in order if index not in set(test)], test


def read_totalsegmentator(folder: Path, organ: str, size: int) -> Case:
    """`ct.nii.gz` and `segmentations/ORGAN.nii.gz`, at half resolution, about the organ."""
    image, affine = _read(folder / f"ct{SUFFIX}")
    label = _mask(folder / "segmentations" / f"{organ}{SUFFIX}", image.shape, affine)
    image, label = _halved(image), _halved(label.astype(np.float32)) >= 0.5
    corner = _corner(label, size, folder)
    hounsfield = np.clip(_patch(image, corner, size, fill=-1024.0) / WINDOW, -1, 1)
    return Case(folder.name, hounsfield, _patch(label.astype(np.uint8), corner, size, fill=0))


def read_raters(folder: Path, organ: str, size: int) -> Case:
    """`image.nii.gz` and `rater1.nii.gz`, `rater2.nii.gz`, ..., about what any rater marked.

    The resolution stays. The label is what at least half of the raters marked; the image has mean
    0 and standard deviation 1/2, as its unit is not known.
    """
    image, affine = _read(folder / f"image{SUFFIX}")
    paths = sorted(folder.glob(f"rater*{SUFFIX}"), key=lambda path: (len(path.name), path.name))
    if len(paths) < 2:
        raise BadCase(f"{folder}: expected rater1{SUFFIX}, rater2{SUFFIX}, ..., got {len(paths)}")
    masks = np.stack([_mask(path, image.shape, affine) for path in paths])
    corner = _corner(masks.any(0), size, folder)
    image = _patch(image, corner, size, fill=float(image.min()))
    spread = float(image.std()) or 1.0
    raters = np.stack([_patch(one.astype(np.uint8), corner, size, fill=0) for one in masks])
    label = (2 * raters.sum(0) >= len(raters)).astype(np.uint8)
    return Case(folder.name, (image - image.mean()) / (2 * spread), label, raters)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A volume as float32 with axes (z, y, x) towards head, front and right; and its affine."""
    import nibabel

    if not path.is_file():
        raise BadCase(f"{path.parent}: {path.name} is missing")
    try:
        file: Any = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(file.dataobj, np.float32)
    except Exception as reason:  # nibabel, gzip and zlib each have their own
        raise BadCase(f"{path.parent}: {path.name} is not readable: {reason}") from reason
    if values.ndim != 3 or not np.isfinite(values).all():
        kind = f"shape {values.shape}" if values.ndim != 3 else "values that are not finite"
        raise BadCase(f"{path.parent}: {path.name} must be a finite volume, got {kind}")
    return np.ascontiguousarray(values.transpose(2, 1, 0)), file.affine


def _mask(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A label that lies on the grid of its image."""
    values, place = _read(path)
    if values.shape != shape:
        raise BadCase(f"{path.parent}: {path.name} has shape {values.shape}, its image {shape}")
    if not np.allclose(place, affine, atol=1e-2):
        raise BadCase(f"{path.parent}: {path.name} lies elsewhere than its image (affines differ)")
    strange = values[(values != 0) & (values != 1)]
    if strange.size:
        raise BadCase(f"{path.parent}: {path.name} must hold 0 and 1, got {strange[0]:g}")
    return values.astype(bool)


def _halved(volume: np.ndarray) -> np.ndarray:
    """Means of blocks of 2 x 2 x 2 voxels; an odd last plane is left out."""
    z, y, x = (n // FACTOR for n in volume.shape)
    cut = volume[: z * FACTOR, : y * FACTOR, : x * FACTOR]
    return cut.reshape(z, FACTOR, y, FACTOR, x, FACTOR).mean((1, 3, 5))


def _corner(label: np.ndarray, size: int, folder: Path) -> list[int]:
    """Where a patch about a label's centre of mass begins; may lie outside."""
    places = np.argwhere(label)
    if not len(places):
        raise BadCase(f"{folder}: the label is empty at the resolution of the patch")
    return [round(float(middle) - (size - 1) / 2) for middle in places.mean(0)]


def _patch(volume: np.ndarray, corner: Sequence[int], size: int, fill: float) -> np.ndarray:
    """Cut a cube, filled where it leaves the volume."""
    result = np.full((size,) * 3, fill, volume.dtype)
    source, target = [], []
    for start, n in zip(corner, volume.shape, strict=True):
        first, last = max(start, 0), min(start + size, n)
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    result[tuple(target)] = volume[tuple(source)]
    return result


def _check_organ(folders: Sequence[Path], organ: str) -> None:
    """Raise ValueError for an organ that no case has."""
    known: set[str] = set()
    for folder in folders:
        files = (folder / "segmentations").glob(f"*{SUFFIX}")
        known |= {path.name.removesuffix(SUFFIX) for path in files}
        if organ in known:
            return
    near = difflib.get_close_matches(organ, known) or sorted(known)[:5]
    raise ValueError(f"no case has the organ {organ!r}; there are {len(known)}, as {near}")


def _cached(folder: Path, read: Reader, organ: str, size: int, cache: Path | None) -> Case:
    """A case from the cache, if its files are those it was made of; else read, and kept."""
    if cache is None:
        return read(folder, organ, size)
    label = folder / "segmentations" / f"{organ}{SUFFIX}"
    files = [*sorted(folder.glob(f"*{SUFFIX}")), label]
    stats = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
        if path.is_file()
    ]
    what = json.dumps([str(folder.resolve()), read.__name__, organ, size, FACTOR, stats])
    path = cache / f"{folder.name}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        case = read(folder, organ, size)
        arrays = {"image": case.image, "label": case.label}
        arrays |= {} if case.raters is None else {"raters": case.raters}
        write(path, lambda file: np.savez_compressed(file, **arrays))
    with np.load(path) as held:
        return Case(folder.name, held["image"], held["label"], held.get("raters"))
