"""Labels and values at displaced places: launching `interpolation.cu`."""

import math

import numpy as np

from gfnoise._shared.modes import OF_COORDINATES

from ._labels import label_defines, rule_of, shape_of
from ._launch import INTEGER, MOST_ROWS, blocks, c_type, index_type, launcher

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
        label_defines(labels.dtype, order, labels.shape, components * voxels),
        (blocks(voxels, THREADS), min(streams, MOST_ROWS)),
        (THREADS,),
        (
            labels,
            shape_of(labels.shape),
            displacement,
            np.int32(components),
            np.int64(raters),
            np.int64(streams),
            rule_of(rule, labels.dtype),
            out,
        ),
    )


def map_coordinates(image, coordinates, out, *, order, mode, cval):
    """Fill (items, points) with (items, z, y, x) at coordinates (axes, points), as on the CPU."""
    device, (items, points) = launcher(out), out.shape
    integer = out.dtype.kind != "f"
    exact = not integer or image.dtype == out.dtype
    values = out
    if out.dtype == np.float16:  # has no arithmetic without headers of CUDA's
        values = device.scratch("values", items * points, np.float64)
    defines = (
        ("IMAGE", c_type(image.dtype)),
        ("COORDINATE", c_type(coordinates.dtype)),
        ("VALUE", c_type(values.dtype)),
        ("INDEX", index_type(math.prod(image.shape[1:]))),
        *([INTEGER] if integer else []),
    )
    device.launch(
        "interpolation",
        "map_coordinates",
        defines,
        (blocks(points, THREADS), min(items, MOST_ROWS)),
        (THREADS,),
        (
            image,
            shape_of(image.shape),
            np.int64(items),
            coordinates,
            np.int32(len(coordinates)),
            np.int64(points),
            np.int32(order),
            np.int32(OF_COORDINATES.index(mode)),
            np.float64(cval),
            np.int32(exact),
            values,
        ),
    )
    if values is not out:
        with np.errstate(over="ignore"):  # as infinity, of which NumPy on the host would warn
            out[...] = values.reshape(out.shape)
