"""Labels and probability maps in files: NIfTI, NRRD and NumPy's own, with their geometry."""

import contextlib
import importlib
import math
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

# Units in mm, by NIfTI's codes and by the names in NRRD; where none of these is given, it is mm.
_CODES = {1: 1e3, 2: 1.0, 3: 1e-3}
_NAMES = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
}
_DEFLATE = 1032  # times smaller at most: a file that claims more is damaged
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
        From voxels to mm, of the shape (ndim + 1, ndim + 1) or, of NIfTI, (4, 4).
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
        labels, become int64; `write` turns them back.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another shape, or holds an image instead of labels.
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
        If the file is missing, damaged, of another shape, or holds values outside [0, 1].
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
        Written in its own dtype; of bool as uint8, but for .npy.
    like : Image, optional
        An image of the same format whose affine, spacing and header are kept.

    Raises
    ------
    FileError
        If the folder is missing or not writable, `like` is of another format, or a dtype is none
        of integers or floats of at most 8 bytes.
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
    suffix, array = _suffix(target), np.asarray(data)
    _check_dtype(target, array.dtype)
    if like is not None:
        own = _suffix(like.path)
        if own.removesuffix(".gz") != suffix.removesuffix(".gz"):
            raise FileError(f"{target}: expected the format of {like.path.name}, {own}")
    make_whole(target, suffix, lambda part: _WRITERS[suffix](part, array, like), put)


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
    source = Path(path)
    reader = _READERS[_suffix(source)]
    if not source.is_file():
        raise FileError(f"{source}: no such file")
    try:
        image = reader(source)
    except (FileError, ImportError):
        raise
    except Exception as error:  # whatever a parser says of a damaged file
        reason = str(error).strip() or type(error).__name__
        raise FileError(f"{source}: cannot be read: {reason}") from error
    _check_geometry(image)
    return image


def _suffix(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise FileError(f"{path}: expected a file {', '.join(SUFFIXES)}, got another name")


def _check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FileError(f"{path}: expected integers or floats of at most 8 bytes, got {dtype}")


def _check_shape(path: Path, shape: tuple[int, ...]) -> int:
    """Check what a header announces, before anything is allocated; the number of voxels."""
    if len(shape) not in (2, 3):
        hint = " (cut one volume out of it)" if len(shape) > 3 else ""
        raise FileError(f"{path}: expected 2 or 3 axes, got shape {tuple(shape)}{hint}")
    if min(shape) < 1:
        raise FileError(f"{path}: expected some voxels, got shape {tuple(shape)}")
    return math.prod(map(int, shape))


def _check_size(path: Path, needed: int, ratio: int = 1) -> None:
    """Raise FileError if the file is too small for what its header announces."""
    size = path.stat().st_size
    if needed > size * ratio:
        raise FileError(
            f"{path}: cannot be read: its header announces {needed} bytes, the file "
            f"has {size}: it is truncated or damaged"
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


def _read_nifti(path: Path) -> Image:
    nibabel = _library("nibabel", path)
    file = nibabel.load(path, mmap=False)
    if not isinstance(file, nibabel.Nifti1Image):  # Nifti2Image is one
        raise FileError(f"{path}: expected NIfTI, got {type(file).__name__}")
    header = file.header
    dtype = header.get_data_dtype().newbyteorder("=")
    _check_dtype(path, dtype)
    needed = _check_shape(path, file.shape) * dtype.itemsize
    _check_size(path, needed, _DEFLATE if _suffix(path) == ".nii.gz" else 1)
    data = np.asarray(file.dataobj)
    if dtype != data.dtype.newbyteorder("="):  # the header scales: floats
        dtype = np.dtype(np.float32)
    affine = _nifti_scale(header)[:, None] * np.asarray(file.affine, np.float64)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    spacing = tuple(float(f"{size:.6g}") for size in sizes[: data.ndim])  # 0.8, as float32 has it
    return Image(path, data, spacing, dtype, affine, file)


def _nifti_scale(header: Any) -> NDArray[np.float64]:
    """The factors of an affine's rows, from the header's unit to mm."""
    scale = _CODES.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.array([scale, scale, scale, 1.0])


def _read_nrrd(path: Path) -> Image:
    nrrd = _library("nrrd", path)
    with path.open("rb") as stream:
        header = nrrd.read_header(stream)
        if "data file" in header or "datafile" in header:
            raise FileError(f"{path}: expected the voxels in the file itself, not in another")
        voxels = _check_shape(path, tuple(header["sizes"].tolist()))  # of a byte at least
        if header["encoding"] not in ("bzip2", "bz2"):  # which has no bound
            _check_size(path, voxels, _DEFLATE if header["encoding"] in ("gzip", "gz") else 1)
        data = nrrd.read_data(header, stream, str(path), index_order="F")
    _check_dtype(path, data.dtype)
    sizes, affine = _nrrd_geometry(header, data.ndim)
    return Image(path, data, sizes, data.dtype.newbyteorder("="), affine, header)


def _nrrd_geometry(
    header: Any, ndim: int
) -> tuple[tuple[float, ...] | None, NDArray[np.float64] | None]:
    directions = header.get("space directions")
    if directions is None:
        spacings = header.get("spacings")
        if spacings is None or np.isnan(np.asarray(spacings, float)).all():
            return None, None
        units = _nrrd_scale(header.get("units"), ndim)
        return tuple((np.asarray(spacings, np.float64) * units).tolist()), None
    steps = np.asarray(directions, np.float64).reshape(ndim, -1)
    units = _nrrd_scale(header.get("space units"), steps.shape[1])
    steps = steps * units
    sizes = tuple(np.sqrt((steps**2).sum(1)).tolist())
    world = steps.shape[1]
    origin = np.asarray(header.get("space origin", np.zeros(world)), np.float64)
    affine = np.eye(world + 1, ndim + 1)
    affine[:world, :ndim], affine[:world, ndim] = steps.T, origin * units
    affine[world] = [0] * ndim + [1]
    return sizes, affine


def _nrrd_scale(units: Any, axes: int) -> NDArray[np.float64]:
    """The factor to mm along each axis."""
    named = [""] * axes if units is None else [str(one).strip().lower() for one in units]
    if len(named) != axes:
        raise ValueError(f"{len(named)} units for {axes} axes")
    return np.array([_NAMES.get(one, 1.0) for one in named])


def _read_npy(path: Path) -> Image:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # checks the size before it reads
    except (ValueError, EOFError) as error:
        if isinstance(error, EOFError) or re.search("pickle|object", str(error)):
            reason = "it is damaged, or holds Python objects"
            raise FileError(f"{path}: cannot be read: {reason}") from error
        raise
    if not isinstance(mapped, np.ndarray):
        mapped.close()
        raise FileError(f"{path}: expected one array, got an archive of several")
    _check_dtype(path, mapped.dtype)
    _check_shape(path, mapped.shape)
    return Image(path, np.array(mapped), None, mapped.dtype.newbyteorder("="), None, None)


# --- writing ------------------------------------------------------------------------------------


def _write_nifti(path: Path, data: NDArray[Any], like: Image | None) -> None:
    nibabel = _library("nibabel", path)
    data = _as_known(data)
    if like is None:
        file = nibabel.Nifti1Image(data, np.eye(4), dtype=data.dtype)
    else:
        header = like.source.header.copy()
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # of the original's values
        affine = None if like.affine is None else like.affine / _nifti_scale(header)[:, None]
        file = type(like.source)(data, affine, header, dtype=data.dtype)
    file.set_data_dtype(data.dtype)
    nibabel.save(file, path)


def _as_known(data: NDArray[Any]) -> NDArray[Any]:
    """The values in a dtype that medical formats have."""
    wider = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}
    return data.astype(wider.get(data.dtype.newbyteorder("="), data.dtype), copy=False)


def _write_nrrd(path: Path, data: NDArray[Any], like: Image | None) -> None:
    nrrd = _library("nrrd", path)
    data = _as_known(data)
    header = {} if like is None else dict(like.source)
    for key in ("type", "endian", "sizes", "dimension", "min", "max", "old min", "old max"):
        header.pop(key, None)
    if header.get("encoding") not in ("raw", "gzip", "gz", "bzip2", "bz2"):
        header["encoding"] = "gzip"
    nrrd.write(str(path), data, header, compression_level=6, index_order="F")


def _write_npy(path: Path, data: NDArray[Any], like: Image | None) -> None:
    with path.open("wb") as stream:
        np.save(stream, data, allow_pickle=False)


def _library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = {"nrrd": "pynrrd"}.get(name, name)
        raise ImportError(
            f"{path.name} needs {package}: pip install 'gfnoise[io]' (or {package})"
        ) from error


_READERS: dict[str, Callable[[Path], Image]] = {
    ".nii.gz": _read_nifti,
    ".nii": _read_nifti,
    ".nrrd": _read_nrrd,
    ".npy": _read_npy,
}
_WRITERS: dict[str, Callable[[Path, NDArray[Any], Image | None], None]] = {
    ".nii.gz": _write_nifti,
    ".nii": _write_nifti,
    ".nrrd": _write_nrrd,
    ".npy": _write_npy,
}
