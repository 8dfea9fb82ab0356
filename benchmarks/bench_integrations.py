"""The adapters against the core: what a host's way of calling adds, at 128³ and fresh seeds."""

import itertools

import numpy as np
import pytest

import gfnoise
from cases import MIDDLE, STRUCTURES

torch = pytest.importorskip("torch")

STRENGTH = {"amplitude": 4.0, "length_scale": 11.3}


def beside_the_core(race, adapter, labels):
    """Race an adapter, of a tensor (1, z, y, x), with the core on the same labels."""
    array, field, seeds = (
        labels.numpy(),
        gfnoise.GaussianField(**STRENGTH, ndim=3),
        itertools.count(),
    )

    def verify(result, expected):
        assert result.dtype == labels.dtype
        assert result.shape == labels.shape
        ours, theirs = (np.mean(np.asarray(one) != array) for one in (result, expected))
        assert 0.5 * theirs < ours < 2 * theirs

    race(
        lambda: adapter(labels),
        lambda: field.sample_labels(array, seed=[next(seeds)], mode="nearest"),
        name="GaussianField.sample_labels",
        voxels=labels.numel(),
        verify=verify,
        rounds=15,
    )


def ball(dtype):
    return torch.from_numpy(STRUCTURES["ball"](MIDDLE)[None].astype(dtype))


def test_monai(race):
    pytest.importorskip("monai")
    from gfnoise.integrations.monai import RandGaussianFieldNoise

    beside_the_core(race, RandGaussianFieldNoise(**STRENGTH, prob=1.0, spacing=1.0), ball(np.uint8))


def test_torchio(race):
    torchio = pytest.importorskip("torchio", minversion="1", reason="TorchIO 1 is not installed")
    from gfnoise.integrations.torchio import RandomGaussianFieldNoise

    noise = RandomGaussianFieldNoise(**STRENGTH, copy=False)

    def adapter(labels):
        subject = torchio.Subject(label=torchio.LabelMap(tensor=labels))
        return noise(subject)["label"].data

    beside_the_core(race, adapter, ball(np.uint8))


def test_nnunet(race):
    pytest.importorskip("batchgeneratorsv2")
    from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform

    noise = GaussianFieldNoiseTransform(**STRENGTH, spacing=(1.0, 1.0, 1.0))
    beside_the_core(race, lambda seg: noise(segmentation=seg)["segmentation"], ball(np.int16))
