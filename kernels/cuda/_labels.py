"""Labels and their rule as `labels.cuh` takes them."""

import math
from functools import cache, lru_cache

import numpy as np

from ._launch import c_type, index_type, narrow, structure

SHAPE = np.dtype([(axis, np.int32) for axis in ("nz", "ny", "nx")])


def label_defines(dtype, order, shape, elements=0):
    """The defines of kernels over codes (items, z, y, x), and over volumes of `elements`."""
    index = index_type(max(math.prod(shape[1:]), elements))
    return ("LABEL", c_type(dtype)), ("ORDER", str(order)), ("INDEX", index)


def shape_of(shape):
    """(items, z, y, x) as a Shape."""
    return structure(narrow(shape[1:]), SHAPE)


@lru_cache(maxsize=64)
def rule_of(rule, code):
    """A rule of labels of this code as a Rule."""
    return structure(tuple(rule), rule_dtype(code))


@cache
def rule_dtype(code):
    """What a Rule is, of labels of this code."""
    names = ("cval", code), ("ignore", code), ("sign", code)
    return np.dtype([*names, ("has_ignore", np.int32), ("constant", np.int32)], align=True)
