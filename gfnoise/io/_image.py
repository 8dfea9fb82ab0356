"""An image as files hold it, and the names and dtypes that files may have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".npy")
"""The formats, by the ends of their names."""

LISTED = ", ".join(SUFFIXES)
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


def suffix_of(path: Path) -> str:
    """The format by the end of a name, which must be one of `SUFFIXES`."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise FileError(f"{path}: expected a file {LISTED}, got another name")


def check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise FileError for a dtype that no label and no map has."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FileError(f"{path}: expected integers or floats of at most 8 bytes, got {dtype}")
