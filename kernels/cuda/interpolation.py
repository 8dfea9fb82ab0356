"""Labels and values at displaced places: launching `interpolation.cu`."""

import math

import numpy as np

from ._labels import label_defines, rule_of, shape_of
from ._launch import MOST_ROWS, blocks, c_type, index_type, launcher

THREADS = 256


def warp_labels(labels, displacement, out, *, order, rule):
    """Fill (items, raters, z, y, x) with (items, z, y, x) moved by (items, raters, ndim, z, y, x).

    As on the CPU.
    """
    streams, raters, components = len(out) * out.shape[1], out.shape[1], displacement.shape[2]
    voxels = math.prod(labels.shape[1:])
    launcher(out).launch(
        "interpolation",
        "warp_labels",
        label_defines(labels, order, components * voxels),
        (blocks(voxels, THREADS), min(streams, MOST_ROWS)),
        (THREADS,),
        (
            labels,
            shape_of(labels),
            displacement,
            np.int32(components),
            np.int64(raters),
            np.int64(streams),
            rule_of(rule),
            out,
        ),
    )


def map_coordinates(image, coordinates, out, *, order, mode, cval):
    """Fill (items, points) with (items, z, y, x) at coordinates (axes, points), as on the CPU."""
    points, items = out.shape[1], len(image)
    defines = (
        ("IMAGE", c_type(image.dtype)),
        ("COORDINATE", c_type(coordinates.dtype)),
        ("VALUE", c_type(out.dtype)),
        ("INDEX", index_type(math.prod(image.shape[1:]))),
    )
    with np.errstate(over="ignore"):
        fill = out.dtype.type(cval)
    launcher(out).launch(
        "interpolation",
        "map_coordinates",
        defines,
        (blocks(points, THREADS), min(items, MOST_ROWS)),
        (THREADS,),
        (
            image,
            shape_of(image),
            np.int64(items),
            coordinates,
            np.int32(len(coordinates)),
            np.int64(points),
            np.int32(order),
            np.int32(mode),
            np.float64(cval),
            fill,
            out,
        ),
    )
