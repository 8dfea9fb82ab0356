"""The formats of label files, each read and written by its own library."""

import bz2
import gzip
import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._image import FileError, Image, check_dtype, suffix_of

# Units in mm, by NIfTI's codes and by the names in NRRD; where none of these is given, it is mm.
_CODES = {1: 1e3, 2: 1.0, 3: 1e-3}
_NAMES = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
}
_SKIPS = ("line skip", "lineskip", "byte skip", "byteskip")  # before the voxels, by NRRD's names
_WIDEST = 8  # bytes of a voxel
_DEFLATE = 1032  # times smaller at most: a file that claims more is damaged


def read(path: Path) -> Image:
    """The image of a file; whatever its library raises for a damaged one."""
    return _READERS[suffix_of(path)](path)


def write(path: Path, data: NDArray[Any], like: Image | None) -> None:
    """Write the file, with the header of an image of the same format."""
    _WRITERS[suffix_of(path)](path, data, like)


# --- reading ------------------------------------------------------------------------------------


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


def _read_nifti(path: Path) -> Image:
    nibabel = _library("nibabel", path)
    file = nibabel.load(path, mmap=False)
    if not isinstance(file, nibabel.Nifti1Image):  # Nifti2Image is one
        raise FileError(f"{path}: expected NIfTI, got {type(file).__name__}")
    header = file.header
    dtype = header.get_data_dtype().newbyteorder("=")
    check_dtype(path, dtype)
    needed = _check_shape(path, file.shape) * dtype.itemsize
    compressed = suffix_of(path) == ".nii.gz"
    _check_size(path, needed, _DEFLATE if compressed else 1)
    data = np.asarray(file.dataobj)
    if compressed:
        _check_end(path)
    if dtype != data.dtype.newbyteorder("="):  # the header scales: floats
        dtype = np.dtype(np.float32)
    affine = _nifti_scale(header)[:, None] * np.asarray(file.affine, np.float64)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    spacing = tuple(float(f"{size:.6g}") for size in sizes[: data.ndim])  # 0.8, as float32 has it
    return Image(path, data, spacing, dtype, affine, file)


def _check_end(path: Path) -> None:
    """Read to the end of a stream, where its checksum is: nibabel stops at the last voxel."""
    with gzip.open(path) as stream:
        while stream.read(1 << 20):
            pass


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
        _check_skips(path, header)
        if header["encoding"] in ("bzip2", "bz2"):
            _check_unpacked(path, stream, header, _WIDEST * voxels)
        else:
            _check_size(path, voxels, _DEFLATE if header["encoding"] in ("gzip", "gz") else 1)
        data = nrrd.read_data(header, stream, str(path), index_order="F")
    check_dtype(path, data.dtype)
    sizes, affine = _nrrd_geometry(header, data.ndim)
    return Image(path, data, sizes, data.dtype.newbyteorder("="), affine, header)


def _check_unpacked(path: Path, stream: Any, header: Any, announced: int) -> None:
    """Raise FileError where bzip2, which has no bound, holds more than the header announces."""
    start, found = stream.tell(), 0
    most = announced + path.stat().st_size  # bytes that are skipped, of those unpacked, count
    for _ in range(int(header.get("line skip", header.get("lineskip", 0)))):
        stream.readline()
    with bz2.open(stream) as unpacked:
        while found <= most and (part := unpacked.read(1 << 20)):
            found += len(part)
    if found > most:
        raise FileError(f"{path}: holds more than the {announced} bytes that its header announces")
    stream.seek(start)


def _check_skips(path: Path, header: Any) -> None:
    """Raise FileError where more is to be skipped than the file has."""
    size = path.stat().st_size
    for name in _SKIPS:
        if int(header.get(name, 0)) > size:
            raise FileError(f"{path}: {name} is {header[name]}, but the file has {size} bytes")


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
    check_dtype(path, mapped.dtype)
    _check_shape(path, mapped.shape)
    return Image(path, np.array(mapped), None, mapped.dtype.newbyteorder("="), None, None)


# --- writing ------------------------------------------------------------------------------------


def _write_nifti(path: Path, data: NDArray[Any], like: Image | None) -> None:
    nibabel = _library("nibabel", path)
    data = _as_known(data)
    if like is None:
        fits = max(data.shape) <= np.iinfo(np.int16).max
        kind = nibabel.Nifti1Image if fits else nibabel.Nifti2Image
        file = kind(data, np.eye(4), dtype=data.dtype)
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
    own = ("type", "endian", "sizes", "dimension", "min", "max", "old min", "old max", *_SKIPS)
    for key in own:
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
