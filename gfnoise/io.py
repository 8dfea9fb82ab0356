"""Labels and probability maps in files: NIfTI, NRRD and NumPy's own, with their geometry."""

import contextlib
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _locks

__all__ = ["SUFFIXES", "FileError", "Image", "read_labels", "read_map", "write"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".npy")
"""The formats, by the ends of their names."""

_LISTED = ", ".join(SUFFIXES)
_WHOLE = np.float64(2**53)  # from here on, floats skip integers; not float16, which has none so far
PICTURES = (".png", ".pdf", ".svg")
_PART = ".gfnoise-"  # how the name begins of a file that is being written
_LOCK = ".lock"
_PARTS = re.compile(
    f"{re.escape(_PART)}[0-9a-f]{{32}}({'|'.join(map(re.escape, (*SUFFIXES, *PICTURES, _LOCK)))})"
)
_PAIR = 1e-3  # mm: how far the corners of two images of one space may lie apart


class FileError(ValueError):
    """A file that cannot be read as what it should be, or not be written."""


@dataclass(frozen=True, eq=False)
class Image:
    """An array from a file, and what the file says of its place in space.

    Parameters
    ----------
    path : Path
        Where it was read.
    data : array
        In the order of the file's axes: (x, y, z) of NIfTI and NRRD.
    spacing : tuple of float or None
        Voxel size along each axis in mm; None where the file says nothing.
    dtype : dtype
        That of the file. Labels in a file of floats are integers in `data`.
    affine : float64 array or None
        From voxels to mm: (4, 4) of NIfTI; of NRRD (d + 1, ndim + 1), in a space of d dimensions.
    source : object
        What the library made of the file: nibabel's image or pynrrd's header.
    """

    path: Path
    data: NDArray[Any]
    spacing: tuple[float, ...] | None
    dtype: np.dtype[Any]
    affine: NDArray[np.float64] | None
    source: Any

    def check_pair(self, other: "Image") -> None:
        """Check that another image has the shape of this one, and its place, to a micrometre.

        Parameters
        ----------
        other : Image
            Without an affine in both, the place is not compared.

        Raises
        ------
        FileError
            If it has not.
        """
        if other.data.shape != self.data.shape:
            raise FileError(
                f"{other.path}: expected the shape of {self.path.name}, {self.data.shape}, "
                f"got {other.data.shape}"
            )
        if self.affine is None or other.affine is None:
            return
        if self.affine.shape == other.affine.shape:
            sides = np.ones(self.affine.shape[1] - 1)
            sides[: self.data.ndim] = self.data.shape
            corners = np.vstack([np.zeros_like(sides), np.diag(sides)])
            corners = np.column_stack([corners, np.ones(len(corners))])
            if np.abs(corners @ (self.affine - other.affine).T).max() <= _PAIR:
                return
        raise FileError(f"{other.path}: expected the affine of {self.path.name}, got another")


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
    write_whole(target, data, like, lambda part: os.replace(part, target))


def write_whole(
    target: Path, data: NDArray[Any], like: Image | None, put: Callable[[Path], None]
) -> None:
    """`write`, by a function that gives the whole file, whose path it gets, its name."""
    from . import _formats

    suffix, array = suffix_of(target), np.asarray(data)
    check_dtype(target, array.dtype)
    if like is not None:
        own = suffix_of(like.path)
        if own.removesuffix(".gz") != suffix.removesuffix(".gz"):
            raise FileError(f"{target}: expected the format of {like.path.name}, {own}")
        _check_same(target, array.shape, like)
    make_whole(target, suffix, lambda part: _formats.write(part, array, like), put)


def make_whole(
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
    from . import _formats

    source = Path(path)
    if source.is_dir():
        raise FileError(f"{source}: expected a file {_LISTED}, got a folder")
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


def suffix_of(path: Path) -> str:
    """The format by the end of a name, which must be one of `SUFFIXES`."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise FileError(f"{path}: expected a file {_LISTED}, got another name")


def check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise FileError for a dtype that no label and no map has."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FileError(f"{path}: expected integers or floats of at most 8 bytes, got {dtype}")


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
