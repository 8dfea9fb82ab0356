"""What `warm_up` compiles: all but what its docstring names."""

from __future__ import annotations

import subprocess
import sys

CALLS = """
import importlib
import pkgutil
import numpy as np
import gfnoise
import gfnoise._cpu

NAMES = [one.name for one in pkgutil.iter_modules(gfnoise._cpu.__path__)]
MODULES = [importlib.import_module(f"gfnoise._cpu.{name}") for name in NAMES]

def variants():
    '''How often each kernel was compiled, or loaded.'''
    functions = [(module.__name__, one) for module in MODULES for one in vars(module).values()]
    kernels = [(name, one) for name, one in functions if hasattr(one, "stats")]
    return {f"{name}.{one.__name__}": len(one.signatures) for name, one in kernels}

gfnoise.warm_up()
before = variants()
random = np.random.default_rng(0)
for shape in ((9, 20), (5, 9, 20)):
    ndim = len(shape)
    field = gfnoise.GaussianField(1.0, 4.0, ndim=ndim)
    for dtype in ("bool", "uint8", "int16", "int32", "int64"):
        labels = random.integers(0, 2, shape).astype(dtype)
        move = field.displacement(shape, seed=1)
        for order in (0, 1):
            for mode in ("constant", "nearest"):
                field.sample_labels(labels, seed=1, n=2, order=order, mode=mode)
                gfnoise.warp_labels(labels, move, order=order, mode=mode)
        for method in ("integrated", "sampled"):
            field.marginals(labels, method=method)
        if dtype != "bool":
            field.marginals(labels, num_classes=3, ignore_index=2)
    for real in ("float32", "float64"):
        maps = random.random(shape).astype(real)
        for mode in ("reflect", "constant", "nearest", "mirror", "wrap"):
            gfnoise.gaussian_filter(maps, 1.0, mode=mode)
            for order in (0, 1):
                gfnoise.map_coordinates(maps, move + 2, order=order, mode=mode)
        for metric in ("dice", "iou", "fbeta", "accuracy", "volume"):
            mask = gfnoise.optimal_segmentation(maps, metric, ties="smallest")
            gfnoise.optimal_threshold(maps, metric)
        gfnoise.optimal_segmentation(maps, "volume", ties="first")
        for metric in ("dice", "iou", "fbeta", "accuracy"):
            gfnoise.score(mask, maps, metric)
            gfnoise.volume_range(maps, metric)
        gfnoise.volume_curves(random.random((9, 100, 100)).astype(real))
    for raters in (3, 300):
        votes = random.integers(0, raters + 1, shape)
        for ties in ("largest", "first"):
            gfnoise.optimal_segmentation(votes, "volume", raters=raters, ties=ties)
        gfnoise.optimal_segmentation(votes, raters=raters)
        gfnoise.volume_range(votes, raters=raters)
    gfnoise.expected_score(mask, mask, field, n=3, seed=0)
    masks = random.integers(0, 2, (5, *shape)).astype("uint8")
    for method in ("average", "majority", "union", "intersection", "staple"):
        gfnoise.fuse_raters(masks, method)
        gfnoise.fuse_raters(masks, method, num_classes=3)
        gfnoise.fuse_raters(masks, method, ignore_index=1)
    gfnoise.fuse_raters(masks, "random", seed=0)
    gfnoise.smooth_labels(masks, 2, 0.1, ndim=ndim)
    gfnoise.svls(masks, 2, ndim=ndim)
after = variants()
print([name for name in after if after[name] != before[name]])
"""


def test_nothing_compiles_once_it_is_warm() -> None:
    command = [sys.executable, "-W", "error", "-c", CALLS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
