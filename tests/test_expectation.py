"""Expected scores: against sums over translations, the law of their error, seeds and memory."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

import gfnoise
import oracles
from devices import cupy_array
from gfnoise import GaussianField, expected_score
from gfnoise._cpu import _pool
from gfnoise._seeds import part_seed

METRICS = ["dice", "iou", "fbeta", "accuracy"]
LABEL = np.zeros((14, 17), np.uint8)
LABEL[4:9, 5:13] = 1
MASK = np.zeros((14, 17), bool)
MASK[3:9, 6:12] = True
NOISE = GaussianField(1.5, 3.0, ndim=2)


def shifted(label: np.ndarray, by: tuple[int, ...]) -> np.ndarray:
    """l(w + by), 0 outside."""
    padded = np.pad(label, 40)
    return padded[tuple(slice(40 + d, 40 + d + n) for d, n in zip(by, label.shape, strict=True))]


@pytest.mark.parametrize("shape", [(14, 17), (6, 9, 8)])
def test_translations_summed_one_by_one(shape: tuple[int, ...]) -> None:
    """A field of an endless correlation length moves the label as a whole, by rounded normals."""
    label, mask = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    label[tuple(slice(n // 4, -(n // 3)) for n in shape)] = 1
    mask[tuple(slice(n // 4, -(n // 4)) for n in shape)] = 1
    amplitude, steps = 0.8, range(-5, 6)
    mass = {d: ndtr((d + 0.5) / amplitude) - ndtr((d - 0.5) / amplitude) for d in steps}
    moved = [
        (math.prod(mass[d] for d in by), shifted(label, by))
        for by in itertools.product(steps, repeat=len(shape))
    ]
    field = GaussianField(amplitude, 1e6, ndim=len(shape))
    for metric in METRICS:
        found = expected_score(mask, label, field, n=2500, seed=1, metric=metric, beta=2.0)
        scores = [oracles.score(mask, one.astype(float), metric, 2.0) for _, one in moved]
        weights = [weight for weight, _ in moved]
        expected = np.average(scores, weights=weights)
        spread = np.sqrt(np.average((scores - expected) ** 2, weights=weights))
        assert abs(found.mean - expected) < 5 * found.standard_error
        # The standard deviation of 2500 scores: good to 1.4 %, or 2 % for heavy tails; 6 times.
        assert found.standard_error == pytest.approx(spread / math.sqrt(2500), rel=0.12)


def test_for_accuracy_it_is_the_score_of_the_marginal() -> None:
    """E[A_L(s)] = A_m(s) (2022, Section 3); E[D_L(s)] is another number than D_m(s)."""
    m = NOISE.marginals(LABEL)
    found = expected_score(MASK, LABEL, NOISE, n=3000, seed=2, metric="accuracy")
    assert abs(found.mean - gfnoise.score(MASK, m, "accuracy")) < 5 * found.standard_error
    wild = GaussianField(4.0, 20.0, ndim=2)  # the label may leave the image: its volume varies
    found = expected_score(MASK, LABEL, wild, n=12_000, seed=3)
    assert gfnoise.score(MASK, wild.marginals(LABEL)) > found.mean + 6 * found.standard_error


def test_two_equally_likely_labels() -> None:
    """[0, 0.2] and [0, 0.8], s = [0, 0.8]: D_{E[L]}(s) is 10/13, E[D_L(s)] is 0.7."""
    labels = np.zeros((2, 10), np.uint8)
    labels[0, :2] = labels[1, :8] = 1
    s = labels[1]
    assert gfnoise.score(s, labels.mean(0)) == pytest.approx(10 / 13, rel=1e-15)
    assert gfnoise.score(np.stack([s, s]), labels, ndim=1).mean() == pytest.approx(0.7, rel=1e-15)


def test_the_standard_error_is_that_of_the_mean() -> None:
    """Of 300 means over 40 samples each: their scatter, against what each says of itself."""
    found = expected_score(
        np.broadcast_to(MASK, (300, *MASK.shape)),
        np.broadcast_to(LABEL, (300, *LABEL.shape)),
        NOISE,
        n=40,
        seed=4,
    )
    truth = expected_score(MASK, LABEL, NOISE, n=20_000, seed=5)
    assert len(set(found.mean)) == 300
    scatter, said = found.mean.std(ddof=1), np.sqrt((found.standard_error**2).mean())
    assert scatter == pytest.approx(said, rel=6 / math.sqrt(2 * 300))
    assert abs(found.mean.mean() - truth.mean) < 5 * math.hypot(
        said / math.sqrt(300), truth.standard_error
    )


def test_without_noise_it_is_the_score_itself() -> None:
    still = GaussianField(0.0, 5.0, ndim=2)
    for metric in METRICS:
        found = expected_score(MASK, LABEL, still, n=3, seed=0, metric=metric, beta=0.5)
        expected = gfnoise.score(MASK, LABEL, metric, beta=0.5)
        assert found == (expected, 0.0)
    nothing = np.zeros_like(LABEL)
    assert expected_score(nothing, nothing, NOISE, n=5, seed=0) == (1.0, 0.0)  # 0/0
    assert expected_score(MASK, nothing, NOISE, n=5, seed=0) == (0.0, 0.0)
    assert expected_score(MASK, nothing, NOISE, n=5, seed=0, cval=1).mean >= 0


def test_seeds_of_parts_stay() -> None:
    """Golden values: to change them is a line in CHANGELOG.md."""
    numbers = (0, 0, 0), (6, 0, 0), (5 + (3 << 32), 7, 11), (2**63 - 1, 2**32 - 1, 99)
    assert [part_seed(*one) for one in numbers] == [
        4334430513956379144,
        5162411789978738659,
        5917611680177133447,
        8291380288659324291,
    ]


def test_order_mode_and_cval_are_those_of_the_samples() -> None:
    """Each option changes the samples: a mean over the same groups, drawn and scored by hand."""
    wild, label = GaussianField(3.0, 4.0, ndim=2), np.roll(LABEL, -4, axis=0)  # at the border
    seen = set()
    for options in ({}, {"order": 1}, {"mode": "nearest"}, {"cval": 1}):
        found = expected_score(MASK, label, wild, n=20, seed=6, **options)
        samples = wild.sample_labels(label, seed=[part_seed(6, 0, 0)], n=20, **options)
        scores = gfnoise.score(np.broadcast_to(MASK, samples.shape), samples, ndim=2)
        assert found.mean == pytest.approx(scores.mean(), rel=1e-14)
        assert found.standard_error == pytest.approx(scores.std(ddof=1) / math.sqrt(20), rel=1e-12)
        seen.add(float(found.mean))
    assert len(seen) == 4


# ----------------------------------------------------------------------------- seeds, items


def test_a_seed_is_reproduced_whatever_the_batch_and_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks = np.stack([MASK, MASK[::-1], MASK[:, ::-1]])[:, None]
    labels = np.stack([LABEL, LABEL[::-1], LABEL])[:, None]
    found = expected_score(masks, labels, NOISE, n=100, seed=[7, 8, 7])
    assert found.mean.shape == found.standard_error.shape == (3, 1)
    for i, seed in enumerate([7, 8, 7]):
        alone = expected_score(masks[i, 0], labels[i, 0], NOISE, n=100, seed=[seed])
        assert (found.mean[i, 0], found.standard_error[i, 0]) == alone
    monkeypatch.setattr(_pool, "threads", lambda: 3)
    again = expected_score(masks, labels, NOISE, n=100, seed=[7, 8, 7])
    assert np.array_equal(found, again)
    one = expected_score(masks, labels, NOISE, n=100, seed=7)
    assert one.mean[0, 0] == found.mean[0, 0]
    assert one.mean[2, 0] != one.mean[0, 0]  # items draw apart
    for other in (8, 2**63 - 1):
        assert expected_score(MASK, LABEL, NOISE, n=100, seed=other).mean != found.mean[0, 0]


def test_more_samples_continue_fewer() -> None:
    """Of 128, the first 64 are those of 64; groups have streams of their own."""
    less = expected_score(MASK, LABEL, NOISE, n=64, seed=9)
    more = expected_score(MASK, LABEL, NOISE, n=128, seed=9)
    second = 2 * more.mean - less.mean
    assert second != pytest.approx(less.mean, abs=1e-6)
    assert abs(second - less.mean) < 6 * math.sqrt(2) * less.standard_error


def test_parameters_per_item() -> None:
    each = GaussianField([[0.0], [2.0]], 3.0, ndim=2)
    found = expected_score(np.stack([LABEL, LABEL]), np.stack([LABEL, LABEL]), each, n=30, seed=1)
    assert (found.mean[0], found.standard_error[0]) == (1.0, 0.0)
    assert found.mean[1] < 1
    one = expected_score(np.stack([LABEL] * 2), np.stack([LABEL] * 2), NOISE, n=30, seed=[1, 1])
    assert one.mean[0] == one.mean[1]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, ">u2"])
def test_dtypes_and_layouts(dtype: Any) -> None:
    expected = expected_score(MASK, LABEL, NOISE, n=10, seed=0)
    wide = np.zeros((14, 34), dtype)
    wide[:, ::2] = LABEL
    locked = MASK.astype(dtype)
    locked.setflags(write=False)
    assert expected_score(locked, wide[:, ::2], NOISE, n=10, seed=0) == expected
    assert (
        expected_score(np.asfortranarray(locked), LABEL[::-1][::-1], NOISE, n=10, seed=0)
        == expected
    )


def test_nothing_to_score() -> None:
    none = expected_score(np.zeros((0, 5, 5), bool), np.zeros((0, 5, 5), bool), NOISE, n=2, seed=0)
    assert none.mean.shape == none.standard_error.shape == (0,)
    empty = np.zeros((2, 0, 5), bool)
    assert expected_score(empty, empty, NOISE, n=70, seed=0).mean.tolist() == [1, 1]


def test_memory_does_not_grow_with_n() -> None:
    label = np.zeros((64, 64, 32), np.uint8)
    label[20:40, 20:40, 8:24] = 1
    field = GaussianField(2.0, 12.0, ndim=3)
    peaks = []
    for n in (2, 64, 320):
        tracemalloc.start()
        expected_score(label, label, field, n=n, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < peaks[1] < 1.5e7
    assert peaks[2] < 1.1 * peaks[1]


# --------------------------------------------------------------------------------- bad input

GOOD: dict[str, Any] = {"segmentation": MASK, "labels": LABEL, "field": NOISE, "n": 2, "seed": 0}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"segmentation": MASK * 0.5}, "^segmentation .*float64"),
        ({"segmentation": LABEL * 2}, r"^segmentation must be in \{0, 1\}, got 2"),
        ({"segmentation": MASK[1:]}, r"^segmentation .*\(14, 17\), got \(13, 17\)"),
        ({"segmentation": None}, "^segmentation .*None"),
        ({"segmentation": np.ma.masked_array(MASK)}, "^segmentation .*MaskedArray"),
        ({"labels": LABEL * 3}, r"^labels must be in \{0, 1\}, got 3"),
        ({"labels": LABEL - 1.0}, "^labels .*float64"),
        ({"labels": LABEL.tolist()}, "^labels .*list"),
        ({"labels": LABEL[0], "segmentation": MASK[0]}, "^labels .*ndim=2 axes, got 1"),
        ({"field": None}, "^field must be a GaussianField, got None"),
        ({"n": 1}, "^n .*at least 2, got 1"),
        ({"n": 2.5}, r"^n .*2\.5"),
        ({"n": True}, "^n .*True"),
        ({"seed": -1}, "^seed .*-1"),
        ({"seed": [1, 2]}, "^seed .*1 items, got 2 seeds"),
        ({"seed": 0.5}, r"^seed .*0\.5"),
        ({"metric": "volume"}, "^metric .*'volume'"),
        ({"metric": "fbeta", "beta": 0}, "^beta .*0"),
        ({"order": 2}, "^order .*2"),
        ({"mode": "wrap"}, "^mode .*'wrap'"),
        ({"cval": 2}, "^cval .*2"),
        ({"field": GaussianField([[1.0], [2.0]], 3.0, ndim=2)}, "^amplitude.*1 items, got 2"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        expected_score(**{**GOOD, **changes})


def test_arrays_of_cupy_have_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    array = cupy_array(monkeypatch)
    with pytest.raises(NotImplementedError, match=r"^expected_score has no kernels for CuPy"):
        expected_score(**{**GOOD, "segmentation": array, "labels": array})
    with pytest.raises(TypeError, match=r"^expected_score takes arrays of one library"):
        expected_score(**{**GOOD, "labels": array})
