"""Labels and their rule as `labels.cuh` takes them."""

import math

import numpy as np

from ._launch import c_type, index_type, narrow

_SHAPE = np.dtype([(axis, np.int32) for axis in ("nz", "ny", "nx")])


def label_defines(dtype, order, shape, elements=0):
    """The defines of kernels over codes (items, z, y, x), and over volumes of `elements`."""
    index = index_type(max(math.prod(shape[1:]), elements))
    return ("LABEL", c_type(dtype)), ("ORDER", str(order)), ("INDEX", index)


def shape_of(shape):
    """(items, z, y, x) as a Shape."""
    return np.array(narrow(shape[1:]), _SHAPE)


def rule_of(rule):
    """A rule as a Rule."""
    code = rule.cval.dtype
    names = ("cval", code), ("ignore", code), ("sign", code)
    dtype = np.dtype([*names, ("has_ignore", np.int32), ("constant", np.int32)], align=True)
    return np.array(tuple(rule), dtype)
