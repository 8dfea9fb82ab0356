"""Labels and probability maps in files: NIfTI and NRRD, with their geometry, and NumPy's own."""

import contextlib
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _formats, _locks
from ._image import LISTED, SUFFIXES, FileError, Image, check_dtype, suffix_of

__all__ = ["SUFFIXES", "FileError", "Image", "read_labels", "read_map", "write"]

_WHOLE = np.float64(2**53)  # from here on, float64 skips integers
PICTURES = (".png", ".pdf", ".svg")
_PART = ".gfnoise-"  # how the name begins of a file that is being written
_LOCK = ".lock"
_PARTS = re.compile(
    f"{re.escape(_PART)}[0-9a-f]{{32}}({'|'.join(map(re.escape, (*SUFFIXES, *PICTURES, _LOCK)))})"
)


def read_labels(path: str | os.PathLike[str]) -> Image:
    """Read a label file.

    Parameters
    ----------
    path : str or path-like
        A .nii, .nii.gz, .nrrd or .npy file with two or three axes.

    Returns
    -------
    Image
        Its data of bool or an integer dtype. Floats that are whole numbers, as many tools write
        labels, become int64; `image.data.astype(image.dtype)` is what the file holds.

    Raises
    ------
    FileError
        If the file is missing, a folder, damaged, of another shape, or holds an image instead of
        labels.
    ImportError
        If the library for the format is missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from gfnoise.io import read_labels, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/label.npy", np.eye(4, dtype=np.uint8))
    ...     label = read_labels(f"{folder}/label.npy")
    >>> label.data.dtype, label.spacing
    (dtype('uint8'), None)
    """
    image = _read(path)
    data = image.data
    if data.dtype.kind == "f":
        whole = np.isfinite(data) & (np.abs(data) < _WHOLE)
        whole &= data == np.trunc(data)
        if not whole.all():
            found = data[np.unravel_index(np.argmin(whole), data.shape)]
            raise FileError(
                f"{image.path}: expected labels, which are whole numbers, got an image or a map "
                f"({data.dtype} with the value {found:g})"
            )
        data = data.astype(np.int64)
    if _is_noise(data):
        raise FileError(
            f"{image.path}: expected labels, got what looks like an image ({data.dtype}, values "
            f"from {data.min()} to {data.max()}, most of them unlike their neighbours)"
        )
    return Image(image.path, data, image.spacing, image.dtype, image.affine, image.source)


def read_map(path: str | os.PathLike[str]) -> Image:
    """Read a probability map.

    Parameters
    ----------
    path : str or path-like
        As in `read_labels`.

    Returns
    -------
    Image
        Its data of float32 or float64, in [0, 1].

    Raises
    ------
    FileError
        If the file is missing, a folder, damaged, of another shape, or holds values outside [0, 1].
    ImportError
        If the library for the format is missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from gfnoise.io import read_map, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/map.npy", np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3))
    ...     read_map(f"{folder}/map.npy").data.dtype
    dtype('float32')
    """
    image = _read(path)
    data = image.data.astype(
        np.float64 if image.data.dtype.itemsize > 4 else np.float32, copy=False
    )
    if not (data.min() >= 0 and data.max() <= 1):  # NaN is neither
        raise FileError(
            f"{image.path}: expected probabilities in [0, 1] without NaN, got values from "
            f"{data.min():g} to {data.max():g}"
        )
    return Image(image.path, data, image.spacing, image.dtype, image.affine, image.source)


def write(path: str | os.PathLike[str], data: NDArray[Any], like: Image | None = None) -> None:
    """Write an array to a file, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Of a format of `SUFFIXES`.
    data : array
        Of the shape of `like`: one rater, or one class, at a time. Written in its own dtype; NIfTI
        and NRRD, which lack bool and float16, hold these as uint8 and float32.
    like : Image, optional
        An image of the same format whose affine, spacing and header are kept.

    Raises
    ------
    FileError
        If the folder is missing or not writable, `like` is of another format or shape, or a
        dtype is none of integers or floats of at most 8 bytes.
    ImportError
        If the library for the format is missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from gfnoise.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/mask.npy", np.ones((2, 3), bool))
    """
    target = Path(path)
    write_atomically(target, data, like, lambda part: os.replace(part, target))


def write_atomically(
    target: Path, data: NDArray[Any], like: Image | None, put: Callable[[Path], None]
) -> None:
    """`write`, by a function that gives the whole file, whose path it gets, its name."""
    suffix, array = suffix_of(target), np.asarray(data)
    check_dtype(target, array.dtype)
    if like is not None:
        own = suffix_of(like.path)
        if own.removesuffix(".gz") != suffix.removesuffix(".gz"):
            raise FileError(f"{target}: expected the format of {like.path.name}, {own}")
        _check_same(target, array.shape, like)
    make_atomically(target, suffix, lambda part: _formats.write(part, array, like), put)


def make_atomically(
    target: Path, suffix: str, make: Callable[[Path], Any], put: Callable[[Path], Any]
) -> None:
    """Make a file beside the target, under the umask, then rename it: nobody sees a part of it."""
    stem = f"{_PART}{uuid.uuid4().hex}"
    part, lock = target.with_name(f"{stem}{suffix}"), target.with_name(f"{stem}{_LOCK}")
    try:
        with _locks.locked(lock):
            try:
                make(part)
                put(part)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{target}: cannot be written: {error.strerror or error}") from error


def sweep(folder: Path) -> None:
    """Remove the parts of files that processes left which were killed while they wrote."""
    for lock in folder.glob(f"{_PART}*{_LOCK}"):
        if not _PARTS.fullmatch(lock.name) or lock.is_symlink() or not lock.is_file():
            continue
        with contextlib.suppress(OSError), _locks.unheld(lock) as left:
            for part in folder.glob(f"{lock.stem}.*") if left else ():
                if part != lock and _PARTS.fullmatch(part.name):
                    part.unlink()


# --- reading ------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> Image:
    """The image of a file with two or three axes of real numbers."""
    source = Path(path)
    if source.is_dir():
        raise FileError(f"{source}: expected a file {LISTED}, got a folder")
    if not source.is_file():
        raise FileError(f"{source}: no such file")
    suffix_of(source)
    try:
        image = _formats.read(source)
    except (FileError, ImportError):
        raise
    except Exception as error:  # whatever a parser says of a damaged file
        reason = str(error).strip() or type(error).__name__
        raise FileError(f"{source}: cannot be read: {reason}") from error
    _check_geometry(image)
    return image


def _check_same(target: Path, shape: tuple[int, ...], like: Image) -> None:
    """Raise FileError for voxels that are not those whose place is known."""
    expected = like.data.shape
    if shape != expected:
        hint = ": write one rater at a time" * (len(shape) > len(expected))
        raise FileError(
            f"{target}: data must have the shape of {like.path.name}, {expected}, got {shape}{hint}"
        )


def _check_geometry(image: Image) -> None:
    sizes = image.spacing
    if image.affine is not None and not np.isfinite(image.affine).all():
        raise FileError(f"{image.path}: expected a finite affine, got {image.affine.tolist()}")
    if sizes is not None and not all(np.isfinite(s) and s > 0 for s in sizes):
        listed = ", ".join(f"{s:g}" for s in sizes)
        raise FileError(f"{image.path}: expected a positive voxel size on each axis, got {listed}")


def _is_noise(data: NDArray[Any]) -> bool:
    """Whether most foreground voxels differ from the next, in more values than labels have."""
    left, right = data[..., :-1], data[..., 1:]
    inside = np.count_nonzero((left != 0) | (right != 0))
    return bool(
        inside and np.count_nonzero(left != right) > inside / 2 and len(np.unique(data)) > 64
    )
