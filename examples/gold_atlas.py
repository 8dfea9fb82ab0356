"""Masks of several raters from a folder of NRRD files, laid out as those of the Gold Atlas project.

A mask is ``PATIENT/ROI (UserN).nrrd``: one structure of one patient as user N outlined it, 0
outside and one other value inside. All users of the folder are expected to have outlined each
structure that any of them outlined in a patient. Other files are left alone.

>>> import gold_atlas                                                       # doctest: +SKIP
>>> region = gold_atlas.regions("gold_atlas")[0]                            # doctest: +SKIP
>>> marginal = gold_atlas.votes(region) / region.raters                     # doctest: +SKIP
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_NAME = re.compile(r"(.+) \(User(\d+)\)\.nrrd", re.ASCII)


class GoldAtlasError(ValueError):
    """A folder or a file is not as described; the message names it."""


@dataclass(frozen=True)
class Region:
    """One structure of one patient, as several users outlined it.

    Attributes
    ----------
    patient, name : str
        The folder, and the structure.
    masks : tuple of Path
        A file per user, in the order of their numbers.
    """

    patient: str
    name: str
    masks: tuple[Path, ...]

    @property
    def raters(self) -> int:
        """How many users outlined it."""
        return len(self.masks)


def regions(folder: str | Path) -> list[Region]:
    """All structures of all patients, in order of structure and patient.

    Parameters
    ----------
    folder : path
        It holds a folder per patient.

    Returns
    -------
    list of Region

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    GoldAtlasError
        There are no masks, or that of a user is missing; the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found: dict[tuple[str, str], dict[int, Path]] = {}
    for path in sorted(folder.glob("*/*.nrrd")):
        match = _NAME.fullmatch(path.name)
        if match:
            found.setdefault((match[1], path.parent.name), {})[int(match[2])] = path
    if not found:
        raise GoldAtlasError(f'{folder} holds no masks named "PATIENT/ROI (UserN).nrrd"')
    users = sorted(set(itertools.chain.from_iterable(found.values())))
    for (name, patient), masks in found.items():
        for user in users:
            if user not in masks:
                missing = folder / patient / f"{name} (User{user}).nrrd"
                raise GoldAtlasError(f"{missing} is missing; the folder has users {users}")
    return [
        Region(patient, name, tuple(masks[user] for user in users))
        for (name, patient), masks in sorted(found.items())
    ]


def votes(region: Region) -> np.ndarray:
    """How many users marked each voxel.

    Parameters
    ----------
    region : Region
        One of `regions`.

    Returns
    -------
    ndarray of uint8
        With the axes of the files.

    Raises
    ------
    ImportError
        pynrrd is not installed.
    GoldAtlasError
        A file is unreadable, is no mask, or has another shape than the first user's; the message
        names it.
    """
    total: np.ndarray | None = None
    for path in region.masks:
        mask = _read(path)
        if total is None:
            total = np.zeros(mask.shape, np.uint8)
        if mask.shape != total.shape:
            raise GoldAtlasError(
                f"{path} is of shape {mask.shape}, but {region.masks[0]} of {total.shape}"
            )
        total += mask
    return np.zeros(0, np.uint8) if total is None else total


def _read(path: Path) -> np.ndarray:
    try:
        import nrrd
    except ImportError:
        raise ImportError(
            "NRRD files are read by pynrrd, which is not installed: run pip install pynrrd (or pip "
            'install "gfnoise[examples]")'
        ) from None
    try:
        data, _ = nrrd.read(str(path))
    except Exception as error:  # whatever a damaged file makes of its reader
        raise GoldAtlasError(f"{path} is no readable NRRD file: {error}") from error
    if data.dtype.kind not in "biuf":
        raise GoldAtlasError(f"{path} must hold a mask of numbers, got {data.dtype}")
    mask = data != 0
    inside = data[mask]
    if inside.size and not (inside == inside[0]).all():
        raise GoldAtlasError(
            f"{path} must hold 0 and one other value, got {inside.min()} and {inside.max()}"
        )
    return mask
