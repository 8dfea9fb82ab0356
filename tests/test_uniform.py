"""The table of uniform cells, entry by entry against plain loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gfnoise import _labels
from gfnoise._cpu._uniform import Table

pytestmark = pytest.mark.cpu


def tabulate(labels: NDArray[Any], amplitude: float, reach: tuple[float, ...]) -> Table:
    rule = _labels.rule(labels, "nearest", 0, None)
    origin, step = (0, 0, 0), (1, 1, 1)
    table = Table(labels, rule, origin, labels.shape, step, (amplitude,) * 3, reach)
    for task in table.filling():
        task()
    table.arguments()
    return table


def count(table: Table, cell: tuple[int, int, int], size_z: int, size_y: int) -> int:
    """How many cells from `cell` on along x are of one label, in a rod that the table cuts."""
    z, y, x = (at << bits for at, bits in zip(cell, table.bits, strict=True))
    stop_z, stop_y = z + (size_z << table.bits[0]), y + (size_y << table.bits[1])
    rod = table.labels[z:stop_z, y:stop_y, x:]
    unlike = (rod != rod[0, 0, 0]).any(axis=(0, 1))
    if not unlike.any():
        return min(table.low.shape[2] - cell[2], 255)
    return min(int(unlike.argmax()) >> table.bits[2], 255)


@pytest.mark.parametrize("shape", [(9, 11, 70), (1, 17, 33), (4, 4, 4), (1, 2, 700), (6, 1, 9)])
@pytest.mark.parametrize("density", [0.0, 0.002, 0.05])
def test_an_entry_counts_the_cells_of_its_label(shape: tuple[int, ...], density: float) -> None:
    rng = np.random.default_rng([int(1000 * density), *shape])
    dtypes = np.uint8, np.uint16, np.uint32, np.uint64
    for dtype, reach in itertools.product(dtypes, [(2.0, 2.0, 4.0), (9.0, 3.0, 30.0)]):
        labels = np.zeros(shape, dtype)
        labels[tuple(slice(n // 2 // 4 * 4, None) for n in shape)] = 2  # at borders of cells
        labels[rng.random(shape) < density] = 1
        labels <<= dtype(8 * rng.integers(labels.itemsize))  # in whichever byte they differ
        table = tabulate(labels, 0.5, reach)
        assert np.prod(table.low.shape) > 0
        for cell in np.ndindex(*table.low.shape):
            for level_z, level_y in itertools.product(range(2), repeat=2):
                expected = count(table, cell, 2 << level_z, 2 << level_y)
                assert table.alike[(level_z, level_y, *cell)] == expected, (cell, level_z, level_y)
            if expected:
                corner = (at << bits for at, bits in zip(cell, table.bits, strict=True))
                assert table.low[cell] == labels[tuple(corner)]
