"""Strengths that are new at every call, as the kernels of a device take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_on_host.launcher import HostLauncher, redirected
from gfnoise import GaussianField
from gfnoise._sampling import noisy_labels
from gfnoise._strengths import in_voxels

torch = pytest.importorskip("torch")

from gfnoise.torch import LabelNoise, _strengths  # noqa: E402
from gfnoise.torch._applied import field_of  # noqa: E402

SHAPE = (9, 14, 17)
AMPLITUDE, LENGTH_SCALE = (0.5, 2.0), (3.0, 5.0)
SPACINGS = [1.0, (3.0, 0.7, 0.7), "unit"]
PLAIN = {"seed": 1, "applied": True, "amplitude": 1.0, "length_scale": 4.0, "spacing": [1.0] * 3}


def scaled(values: tuple[float, float], spacing: Any) -> tuple[float, float]:
    """A range in the unit of a spacing."""
    return tuple(v / 14 for v in values) if spacing == "unit" else values  # type: ignore[return-value]


@pytest.fixture(params=SPACINGS, ids=str)
def noise(request: pytest.FixtureRequest) -> LabelNoise:
    ranges = (scaled(one, request.param) for one in (AMPLITUDE, LENGTH_SCALE))
    return LabelNoise(*ranges, ndim=3, spacing=request.param, p=0.8)


def test_they_are_those_of_a_field_of_their_own(noise: LabelNoise) -> None:
    params = noise.sample_params(5, seed=3)
    found = _strengths.within(params, noise.amplitude, noise.length_scale, 3, SHAPE)
    assert found is not None
    bounds, strengths = found
    expected = np.stack(in_voxels(field_of(params, noise.ndim), 5, SHAPE), axis=1)
    assert np.array_equal(strengths, expected)
    most, least = in_voxels(bounds, 5, SHAPE)
    assert (expected[:, 0] <= most).all()
    assert (expected[:, 1] >= least).all()


def test_a_device_moves_labels_as_the_cpu_does(noise: LabelNoise) -> None:
    labels = torch.zeros(4, 1, *SHAPE, dtype=torch.uint8)
    labels[..., 2:7, 3:9, 4:13] = torch.arange(1, 5, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1)
    params = noise.sample_params(4, seed=1)
    expected = noise.apply(labels, params)
    quiet = [one if one["applied"] else {**one, "amplitude": 0.0} for one in params]
    found = _strengths.within(quiet, noise.amplitude, noise.length_scale, 3, SHAPE)
    assert found is not None
    bounds, strengths = found
    with redirected(HostLauncher()):
        noisy = noisy_labels(
            bounds,
            labels.numpy(),
            seed=[one["seed"] for one in params],
            mode="nearest",
            strengths=strengths,
        )
    assert {one["applied"] for one in params} == {True, False}
    assert not torch.equal(expected, labels)
    assert np.array_equal(noisy, expected.numpy())


@pytest.mark.parametrize(
    "changed",
    [
        {"amplitude": 2.1},
        {"amplitude": -0.1},
        {"amplitude": float("nan")},
        {"amplitude": 1},
        {"amplitude": [1.0, 1.0, 1.0]},
        {"length_scale": 2.9},
        {"length_scale": float("nan")},
        {"length_scale": float("inf")},
        {"length_scale": "4"},
        {"spacing": [1.0, 1.0, 2.0]},
        {"spacing": "unit"},
    ],
    ids=str,
)
def test_others_are_a_field_of_their_own(changed: dict[str, Any]) -> None:
    """Their checks, and their messages, are that field's."""
    for params in ([PLAIN, PLAIN | changed], [PLAIN | changed, PLAIN]):
        assert _strengths.within(params, AMPLITUDE, LENGTH_SCALE, 3, SHAPE) is None


@pytest.mark.parametrize("spacing", [1.0, [1.0, 1.0], [1, 1, 1], None])
def test_a_spacing_that_is_not_plain(spacing: Any) -> None:
    one = PLAIN | {"spacing": spacing}
    assert _strengths.within([one, one], AMPLITUDE, LENGTH_SCALE, 3, SHAPE) is None


def test_a_spacing_that_is_none() -> None:
    one = PLAIN | {"spacing": [1.0, 0.0, 1.0]}
    with pytest.raises(ValueError, match=r"^spacing must be .*got"):
        _strengths.within([one], AMPLITUDE, LENGTH_SCALE, 3, SHAPE)


def test_shares_on_the_device(noise: LabelNoise) -> None:
    shares = torch.tensor([[0.0, 0.25, 1.0], [1.0, 0.5, 0.125]], dtype=torch.float64)
    ranges = noise.amplitude, noise.length_scale
    found = _strengths.drawn(ranges, list(shares), noise.spacing, SHAPE)
    drawn = [
        [low + (high - low) * share for share in row.tolist()]
        for (low, high), row in zip(ranges, shares, strict=True)
    ]
    columns = [[[value] for value in row] for row in drawn]
    field = GaussianField(*columns, spacing=noise.spacing, ndim=3)
    assert np.array_equal(found, np.stack(in_voxels(field, 3, SHAPE), axis=1))
