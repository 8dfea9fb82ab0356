"""`gfnoise.torch` against the core: what the layer adds, in all and per call."""

import itertools

import numpy as np
import pytest

import gfnoise
from cases import MIDDLE, STRUCTURES

torch = pytest.importorskip("torch")

from gfnoise.torch import LabelNoise, _operators  # noqa: E402

SEEDS = [3, 4, 5, 6]


def same(result, expected):
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


def batch(shape, items):
    labels = np.stack([STRUCTURES["ball"](shape)] * items)[:, None]
    return labels, torch.from_numpy(labels.copy())


@pytest.mark.parametrize("items", [1, 4])
def test_label_noise(race, items):
    """A batch (items, 1, 128, 128, 128)."""
    labels, tensor = batch(MIDDLE, items)
    field = gfnoise.GaussianField(4.0, 11.3, ndim=3)
    noise = LabelNoise(4.0, 11.3, ndim=3)
    seeds = SEEDS[:items]
    race(
        lambda: noise(tensor, seed=seeds),
        lambda: field.sample_labels(labels, seed=seeds, mode="nearest"),
        name="GaussianField.sample_labels",
        voxels=labels.size,
        verify=same,
    )


@pytest.mark.parametrize("kind", ["number", "range", "fresh"])
def test_small_label(race, kind):
    """(1, 1, 32, 32, 32): what a call costs beyond the core's; fresh: a new strength at each.

    The core then has new strengths too, each in a field that was made before, and others than the
    layer had: neither finds what the other has cached.
    """
    labels, tensor = batch((32,) * 3, 1)
    noise = LabelNoise(1.5 if kind == "number" else (1.0, 2.0), 5.0, ndim=3)
    seeds, others = [SEEDS[0]], [SEEDS[0]]
    if kind == "fresh":
        seeds, others = range(SEEDS[0], 1000), [SEEDS[0], *range(1000, 2000)]

    def core(seed):
        (one,) = noise.sample_params(1, seed=[seed])
        return gfnoise.GaussianField(one["amplitude"], 5.0, ndim=3), [seed]

    turns, cores = itertools.cycle(seeds), itertools.cycle([core(seed) for seed in others])

    def sample():
        field, seed = next(cores)
        return field.sample_labels(labels, seed=seed, mode="nearest")

    race(
        lambda: noise(tensor, seed=[next(turns)]),
        sample,
        name="GaussianField.sample_labels",
        voxels=labels.size,
        verify=same,
        rounds=300,
    )


@pytest.mark.parametrize("kind", ["tensor", "operator"])
def test_overhead(race, kind):
    """A call on four voxels, as a tensor and as a registered operator, against NumPy's."""
    maps = np.array([[0.1, 0.7], [0.6, 0.3]], np.float32)
    tensor = torch.from_numpy(maps.copy())
    calls = {
        "tensor": lambda: gfnoise.optimal_segmentation(tensor, "accuracy"),
        "operator": lambda: _operators.ops.optimal_segmentation(
            tensor, "accuracy", None, 1.0, None, None, "largest"
        ),
    }
    race(
        calls[kind],
        lambda: gfnoise.optimal_segmentation(maps, "accuracy"),
        name="optimal_segmentation of an array",
        voxels=maps.size,
        verify=same,
        rounds=2000,
    )
