"""Runs of voxels: where their displacement is evaluated, and which cells a label's table has.

A run is decided together: its displacement at a few nodes and a bound in between confine its
sources to a box, which a table of small uniform cells may settle. The numbers here steer how often
that succeeds, never what comes out.
"""

import math
from collections.abc import Sequence

RUN = 8
"""Voxels along x that are decided together."""

SIDE = 4
"""Cells per axis that an entry of the table speaks for: it stands for a box of them."""

_BOUND = 0.7  # times a h² / b²: what the bound between two nodes comes to, on average
_SHORT, _LONG = 0.1, 1e9  # voxels; length scales beyond are as good as these
_MARGIN = 6  # amplitudes: the table covers this much more than the window
_MOST = 2**31 - 1  # cells: their numbers are of 32 bits


def pieces(amplitude: Sequence[float], length_scale: float, step: int) -> int:
    """Into how many pieces nodes cut a run: the ends alone and, for a rough field, the middle.

    Rough is where the bound over a whole run would come to more than about half a voxel.
    """
    run, length = RUN * step, min(max(length_scale, _SHORT), _LONG)
    return 1 + int(_BOUND * run**2 * max(amplitude) > 0.5 * length**2)


def run_spans(
    amplitude: Sequence[float], length_scale: float, step: int, parts: int
) -> tuple[float, ...]:
    """How many voxels the sources of a run span per component, beyond the run: as a rule."""
    run, length = RUN * step, min(max(length_scale, _SHORT), _LONG)
    slope = run / length + 2 * _BOUND * (run / parts / length) ** 2
    return tuple(a * slope + 2 for a in amplitude)


def cells(
    shape: Sequence[int],
    origin: Sequence[int],
    count: Sequence[int],
    step: Sequence[int],
    amplitude: Sequence[float],
    spans: Sequence[float],
) -> tuple[list[int], list[int], list[int]]:
    """The table of a label: per axis log2 of a cell's size, the first cell, and how many.

    Parameters
    ----------
    shape : tuple of int
        Of the label, (z, y, x).
    origin, count, step : tuple of int
        The voxels that will be displaced.
    amplitude : tuple of float
        Per axis, in voxels. Sources beyond six of them from the window are not tabulated.
    spans : tuple of float
        The `run_spans`, of the last axes. Cells are small where these are: they follow the borders
        of the labels closely.
    """
    # Room for runs that span 1.4 times what they mostly do; an entry speaks for SIDE cells less
    # the part of the first one that is before the run.
    rooms = [0.0] * (3 - len(spans)) + [1.4 * min(float(one), 1e6) for one in spans]
    rooms[-1] += RUN * step[-1]
    bits = [math.ceil(math.log2(max(2.0, room / (SIDE - 0.5)))) for room in rooms]
    margins = [RUN + _MARGIN * min(float(a), max(shape)) for a in amplitude]
    bounds = [
        (max(0, at - math.ceil(margin)), min(size, at + s * n + math.ceil(margin)))
        for size, at, n, s, margin in zip(shape, origin, count, step, margins, strict=True)
    ]
    first = [low >> one for (low, _), one in zip(bounds, bits, strict=True)]
    number = [-(-high >> one) - at for (_, high), one, at in zip(bounds, bits, first, strict=True)]
    if math.prod(number) > _MOST:  # a table of one cell: the other runs are evaluated
        number = [1, 1, 1]
    return bits, first, number
