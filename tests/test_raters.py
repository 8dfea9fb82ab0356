"""Fusing raters; the consensus by STAPLE is in test_staple."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gfnoise
import oracles_soft as oracles
from devices import cupy_array
from gfnoise import fit_field, fuse_raters, staple
from pools import run_python

ROWS = "111110000000", "111101000000", "111000100000"
MASKS = np.array([[int(one) for one in row] for row in ROWS], np.uint8)
ORDERED = ["average", "majority", "union", "intersection", "staple"]


# ---------------------------------------------------------------------------------- the fusions


def test_fusions_of_three_raters() -> None:
    assert fuse_raters(MASKS, "union").tolist() == [1] * 7 + [0] * 5
    assert fuse_raters(MASKS, "intersection").tolist() == [1] * 3 + [0] * 9
    assert fuse_raters(MASKS, "majority").tolist() == [1] * 4 + [0] * 8
    assert fuse_raters(MASKS, "staple").tolist() == [1] * 4 + [0] * 8
    np.testing.assert_allclose(fuse_raters(MASKS), MASKS.mean(0), atol=1e-7)
    assert fuse_raters(MASKS).dtype == np.float32


def test_half_of_the_votes_is_a_tie() -> None:
    pair = np.array([[1, 1, 0], [1, 0, 0]])
    assert fuse_raters(pair, "majority").tolist() == [1, 1, 0]
    assert fuse_raters(pair, "majority", ties="smallest").tolist() == [1, 0, 0]
    accurate = gfnoise.optimal_segmentation(pair.sum(0), "accuracy", raters=2)
    assert np.array_equal(fuse_raters(pair, "majority"), accurate)


@settings(max_examples=60, deadline=None)
@given(
    raters=st.integers(1, 6),
    dtype=st.sampled_from(["i1", "u1", ">i4", "u2", "u8", "<i8"]),
    largest=st.booleans(),
    seed=st.integers(0, 999),
)
def test_majority_of_any_labels(raters: int, dtype: str, largest: bool, seed: int) -> None:
    low = -2 if np.dtype(dtype).kind == "i" else 0
    masks = np.random.default_rng(seed).integers(low, 3, (raters, 5, 7)).astype(dtype)
    fused = fuse_raters(masks, "majority", ties="largest" if largest else "smallest")
    assert fused.dtype == masks.dtype
    expected = [
        oracles.majority(column.tolist(), largest) for column in masks.reshape(raters, -1).T
    ]
    assert fused.ravel().tolist() == expected


@settings(max_examples=30, deadline=None)
@given(raters=st.integers(1, 5), classes=st.integers(1, 4), seed=st.integers(0, 999))
def test_fusions_of_classes(raters: int, classes: int, seed: int) -> None:
    masks = np.random.default_rng(seed).integers(0, classes, (raters, 4, 5)).astype(np.int16)
    hot = np.stack([oracles.one_hot(mask, classes) for mask in masks])
    options: dict[str, Any] = {"num_classes": classes}
    np.testing.assert_allclose(fuse_raters(masks, **options), hot.mean(0), atol=1e-6)
    assert np.array_equal(fuse_raters(masks, "union", **options), hot.any(0))
    assert np.array_equal(fuse_raters(masks, "intersection", **options), hot.all(0))


@pytest.mark.parametrize("raters", [2, 5, 255, 256, 300])
def test_many_raters_are_counted(raters: int) -> None:
    """As many as one byte counts, and more."""
    masks = np.random.default_rng(raters).random((raters, 400)) < np.linspace(0, 1, 400)
    votes = masks.sum(0)
    for dtype in (bool, np.uint8, np.int16):
        own = masks.astype(dtype)
        assert np.array_equal(fuse_raters(own, "union"), (votes > 0).astype(dtype))
        assert np.array_equal(fuse_raters(own, "intersection"), (votes == raters).astype(dtype))
        assert np.array_equal(fuse_raters(own, "majority"), (2 * votes >= raters).astype(dtype))
        fewer = fuse_raters(own, "majority", ties="smallest")
        assert np.array_equal(fewer, (2 * votes > raters).astype(dtype))


def test_two_classes_are_the_binary_case() -> None:
    masks = np.stack([np.random.default_rng(r).random((6, 7)) < 0.4 for r in range(3)]).astype(int)
    for method in ("average", "union", "intersection"):
        classes = fuse_raters(masks, method, num_classes=2)
        np.testing.assert_allclose(classes[1], fuse_raters(masks, method), atol=1e-7)
    assert np.array_equal(
        fuse_raters(masks, "majority", num_classes=2), fuse_raters(masks, "majority")
    )
    assert np.array_equal(fuse_raters(masks, "staple", num_classes=2), fuse_raters(masks, "staple"))


@pytest.mark.parametrize("method", ORDERED)
@pytest.mark.parametrize("dtype", ["?", "u1", ">i4", "i8"])
def test_items_axes_and_missing_raters(method: str, dtype: str) -> None:
    masks = (np.random.default_rng(2).random((2, 3, 4, 6, 5)) < 0.5).astype(dtype)
    annotated = np.array([[[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]] * 2, bool)
    annotated[1, 0] = [True, True, False, False]
    fused = fuse_raters(masks, method, axis=2, ndim=2, annotated=annotated)
    first = fuse_raters(
        np.moveaxis(masks, 2, 0), method, axis=0, ndim=2, annotated=annotated.tolist()
    )
    assert np.array_equal(fused, first)
    assert fused.shape == (2, 3, 6, 5)
    assert fused.dtype == (np.float32 if method == "average" else masks.dtype)
    for item in np.ndindex(2, 3):
        assert np.array_equal(fused[item], fuse_raters(masks[item][annotated[item]], method))


def test_a_random_rater_per_item() -> None:
    masks = np.broadcast_to(np.arange(5)[None, :, None, None], (400, 5, 2, 3))
    annotated = np.ones((400, 5), bool)
    annotated[:, 1] = False
    drawn = fuse_raters(masks, "random", axis=1, ndim=2, seed=3, annotated=annotated)
    assert (drawn == drawn[:, :1, :1]).all()
    counts = np.bincount(drawn[:, 0, 0], minlength=5)
    assert counts[1] == 0
    expected, chi = 100, ((counts[[0, 2, 3, 4]] - 100) ** 2).sum() / 100
    assert chi < 16.3, (expected, counts)  # 3 degrees of freedom, p = 0.001; the seed is fixed
    seeds = np.arange(400) + 17
    own = fuse_raters(masks, "random", axis=1, ndim=2, seed=seeds)
    turned = fuse_raters(masks, "random", axis=1, ndim=2, seed=seeds[::-1])
    assert np.array_equal(own, turned[::-1])
    alone = fuse_raters(masks[9], "random", seed=[int(seeds[9])])
    assert np.array_equal(own[9], alone)
    assert len(np.unique(own)) == 5


def test_average_of_softened_raters_beside_the_average() -> None:
    """mSVLS knows of a neighbouring class where mOH does not (Islam and Glocker 2021, Fig. 3)."""
    masks = np.zeros((2, 5, 5), np.uint8)
    masks[:, :, 3:] = 2
    masks[0, :2] = 1
    hard = fuse_raters(masks, num_classes=3)
    soft = gfnoise.svls(masks, 3, ndim=2, axis=0)
    assert hard[2, 3, 2] == 0
    assert 0.1 < soft[2, 3, 2] < 0.3
    np.testing.assert_allclose(soft.sum(0), 1, atol=1e-6)


# --------------------------------------------------------------------- raters who say nothing


def plain_fusion(said: list[int], method: str, classes: int | None, largest: bool) -> Any:
    """The fusion of what was said at a voxel; None where nothing was."""
    if not said:
        return None
    if method == "majority":
        return oracles.majority(said, largest)
    one = {"average": np.mean, "union": any, "intersection": all}[method]
    own = [
        one([label == c for label in said]) for c in ([1] if classes is None else range(classes))
    ]
    return own[0] if classes is None else own


@settings(max_examples=60, deadline=None)
@given(
    raters=st.integers(1, 5),
    dtype=st.sampled_from(["u1", "i1", ">i4", "u8"]),
    classes=st.sampled_from([None, 2, 4]),
    ignore=st.sampled_from([0, 1, 7]),
    method=st.sampled_from(["average", "union", "intersection", "majority"]),
    largest=st.booleans(),
    seed=st.integers(0, 999),
)
def test_who_ignores_a_voxel_says_nothing_there(
    raters: int,
    dtype: str,
    classes: int | None,
    ignore: int,
    method: str,
    largest: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, classes or 2, (2, raters, 4, 5))
    masks = np.where(rng.random(masks.shape) < 0.4, ignore, masks).astype(dtype)
    annotated = rng.random((2, raters)) < 0.7
    annotated[:, 0] = True
    ties = "largest" if largest else "smallest"
    found = fuse_raters(
        masks,
        method,
        axis=1,
        ndim=2,
        num_classes=classes,
        annotated=annotated,
        ignore_index=ignore,
        ties=ties,
    )
    by_class = classes is not None and method != "majority"
    for item, z, y in np.ndindex(2, 4, 5):
        column = masks[item, annotated[item], z, y]
        said = [int(one) for one in column if one != ignore]
        expected = plain_fusion(said, method, classes, largest)
        if expected is None:
            label = np.nan if method == "average" else ignore
            expected = [0] * (classes or 0) if by_class else label
        value = found[item, :, z, y] if by_class else found[item, z, y]
        np.testing.assert_allclose(value, expected, atol=1e-6)


def test_a_random_rater_keeps_what_he_ignores() -> None:
    masks = np.random.default_rng(0).integers(0, 3, (6, 4, 3, 5))
    options: dict[str, Any] = {"axis": 1, "ndim": 2, "seed": 5}
    plain = fuse_raters(masks, "random", **options)
    assert np.array_equal(fuse_raters(masks, "random", ignore_index=2, **options), plain)
    with pytest.raises(ValueError, match=r"masks must be in \[0, 1\], got 2"):
        fuse_raters(masks, "random", num_classes=2, **options)
    fuse_raters(masks, "random", num_classes=2, ignore_index=2, **options)


def test_a_rater_who_ignores_a_voxel_takes_no_part_in_it() -> None:
    """Nothing is what a missing rater says, too: silence everywhere is not to have annotated."""
    masks = np.random.default_rng(3).integers(0, 2, (4, 6, 7)).astype(np.uint8)
    masks[2] = 5
    there = np.array([True, True, False, True])
    for method in ORDERED:
        silent = fuse_raters(masks, method, ignore_index=5)
        missing = fuse_raters(masks[there], method)
        np.testing.assert_allclose(silent, missing, atol=1e-6)


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("method", ["average", "majority", "union", "intersection"])
def test_more_raters_than_two_bytes_count(method: str) -> None:
    masks = np.zeros((65536, 1), np.uint8)
    masks[:35000] = 1
    expected = {"average": np.float32(35000 / 65535), "majority": 1, "union": 1, "intersection": 0}
    assert fuse_raters(masks[:65535], method) == expected[method]
    with pytest.raises(ValueError, match=r"^masks must be of at most 65535 raters, got 65536$"):
        fuse_raters(masks, method)
    assert fuse_raters(masks, "random", seed=0) in (0, 1)


def test_a_class_too_many_beside_what_is_ignored() -> None:
    masks = np.array([[65534, 65535], [65534, 3]], np.uint16)
    with pytest.raises(
        ValueError, match=r"^num_classes must be below 65536 with ignore_index, got"
    ):
        fuse_raters(masks, "majority", num_classes=65536, ignore_index=65535)
    found = fuse_raters(masks, "majority", num_classes=65535, ignore_index=65535)
    assert found.tolist() == [65534, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fuse_raters(MASKS, "mean"), "method must be one of 'average', 'majority'"),
        (lambda: fuse_raters(MASKS, "majority", ties="first"), "ties must be one of 'largest'"),
        (
            lambda: fuse_raters(MASKS * 2),
            r"masks must be in \{0, 1\} \(or give num_classes\), got 2",
        ),
        (
            lambda: fuse_raters(MASKS * 3, "union", num_classes=3),
            r"masks must be in \[0, 2\], got 3",
        ),
        (lambda: fuse_raters(MASKS * 2, "union"), r"masks must be in \{0, 1\} \(or give num_cl"),
        (lambda: fuse_raters(MASKS * 2, "intersection"), r"masks must be in \{0, 1\}.*got 2"),
        (lambda: fuse_raters(MASKS * 3, "majority", num_classes=3), r"in \[0, 2\], got 3"),
        (lambda: fuse_raters(MASKS[0]), "masks must have a rater axis and space, got 1 axis"),
        (lambda: fuse_raters(MASKS[:0]), "masks must be of at least 1 rater, got 0"),
        (lambda: fuse_raters(MASKS[:1], "staple"), "masks must be of at least 2 raters, got 1"),
        (lambda: fuse_raters(MASKS, axis=2), "axis must be one of the 2 axes of masks, got 2"),
        (lambda: fuse_raters(MASKS, ndim=2), "ndim must be between 1 and the 1 axes"),
        (lambda: fuse_raters(MASKS[..., None, None, None]), "ndim must say how many"),
        (lambda: fuse_raters(MASKS, "random"), 'seed must be given with method "random", got None'),
        (
            lambda: fuse_raters(MASKS, "average", seed=1),
            """seed goes with method "random" alone, got 1 with 'average'""",
        ),
        (
            lambda: fuse_raters(MASKS, "random", seed=-1),
            r"seed must be an integer in \[0, 2\*\*63\)",
        ),
        (lambda: fuse_raters(MASKS, annotated=[True, False]), r"annotated must be of shape \(3,\)"),
        (lambda: staple(MASKS, annotated=[True, False, False]), "2 raters per item that annotated"),
        (
            lambda: fuse_raters(MASKS, "union", ignore_index=256),
            "ignore_index must be a value of the labels' dtype uint8, got 256",
        ),
        (lambda: fuse_raters(MASKS * 2, ignore_index=1), r"masks must be in \{0, 1\}.*got 2"),
        (lambda: staple(MASKS, ignore_index=-1), "ignore_index must be a value of the labels'"),
        (lambda: staple(MASKS, prior=1.5), r"prior must be a number in \[0, 1\], got 1.5"),
        (lambda: staple(MASKS, num_classes=2, prior=[0.5, 0.6]), "prior must be 2 probabilities"),
        (lambda: staple(MASKS, num_classes=2, prior=np.float16([0.1, 0.2])), "prior must be 2"),
        (lambda: staple(MASKS, num_classes=2, prior="half"), "prior must be 2 .*got 'half'"),
        (
            lambda: staple(MASKS, num_classes=2, prior=[[0.5], [0.2, 0.3]]),
            "prior must be a probability per class, got",
        ),
        (
            lambda: staple(MASKS, max_iterations=0),
            "max_iterations must be an integer of at least 1",
        ),
        (lambda: staple(MASKS, tolerance=-1.0), "tolerance must be a finite number of at least 0"),
        (
            lambda: staple(np.zeros((70, 4), bool)),
            r"fewer than 2\*\*63 patterns, got 2 classes of 70",
        ),
        (lambda: fit_field(MASKS), "must have 2 or 3 axes of space, got 1"),
        (lambda: fit_field(np.zeros((1, 4, 4), bool)), "masks must be of at least 2 raters, got 1"),
        (lambda: fit_field(np.zeros((0, 4, 4), bool)), "masks must be of at least 2 raters, got 0"),
        (
            lambda: fit_field(np.eye(4)[None].astype(int).repeat(2, 0) * 2),
            r"masks must be in \{0, 1\}",
        ),
        (lambda: fit_field(np.zeros((2, 4, 4), bool)), "got none from rater 0"),
        (lambda: fit_field(np.eye(4, dtype=bool)[None].repeat(3, 0)), "raters all alike"),
        (
            lambda: fit_field(np.stack([np.eye(4, dtype=bool), ~np.eye(4, dtype=bool)])),
            "one structure, got raters 0 and 1 who share no voxel",
        ),
        (lambda: fit_field(MASKS[:, None], spacing=[1, 0]), "spacing must be finite and positive"),
        (lambda: fit_field(MASKS[:, None], spacing=[[1, 1]]), r"scalar or of shape \(2,\)"),
        (lambda: fit_field(MASKS[:, None], seed=-1), "seed must be an integer of at least 0"),
    ],
)
def test_bad_values_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("function", [fuse_raters, staple, fit_field])
def test_bad_types_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="masks must be a NumPy array"):
        function([[0, 1], [1, 1]])
    with pytest.raises(TypeError, match="masks must be of bool or an integer dtype, got float64"):
        function(np.zeros((2, 4, 4)))
    with pytest.raises(TypeError, match="axis must be an integer"):
        function(np.zeros((2, 4, 4), bool), axis=1.0)


@pytest.mark.parametrize("function", [fuse_raters, staple, fit_field])
def test_arrays_of_cupy_have_no_kernels(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    array = cupy_array(monkeypatch)
    expected = f"^{function.__name__} has no kernels for CuPy arrays yet"
    with pytest.raises(NotImplementedError, match=expected):
        function(array)


@pytest.mark.parametrize("function", [fuse_raters, staple])
def test_masked_flags_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="annotated must be of bool, got a masked array"):
        function(MASKS, annotated=np.ma.ones(3, bool))


def test_any_layout_gives_the_same() -> None:
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 9)).astype(np.int16)
    frozen = masks.copy()
    frozen.flags.writeable = False
    others = [frozen, masks.astype(">i2"), np.asfortranarray(masks), masks[:, ::-1].copy()[:, ::-1]]
    for method in ORDERED:
        expected = fuse_raters(masks, method)
        for other in others:
            assert np.array_equal(fuse_raters(other, method), expected)
        assert fuse_raters(masks[:, :0], method).shape == (0, 9)
    same = np.broadcast_to(masks[0], masks.shape)
    assert np.array_equal(fuse_raters(same, "majority"), masks[0])


def test_tensors_give_tensors() -> None:
    masks = np.random.default_rng(0).integers(0, 3, (3, 8, 9))
    for method in ORDERED:
        fused = fuse_raters(torch.from_numpy(masks), method, num_classes=3)
        assert isinstance(fused, torch.Tensor)
        assert np.array_equal(fused.numpy(), fuse_raters(masks, method, num_classes=3))
    for classes in (None, 3):
        few = masks if classes else masks // 2
        ours, theirs = (
            staple(torch.from_numpy(few), num_classes=classes),
            staple(few, num_classes=classes),
        )
        for one, other in zip(ours, theirs, strict=True):
            assert isinstance(one, torch.Tensor)
            assert np.array_equal(one.numpy(), other)
        assert np.array_equal(ours.consensus.numpy(), theirs.consensus)


# --- threads --------------------------------------------------------------------------------------

FIT = """
z, y, x = np.ogrid[-12:12, -12:12, -12:12]
masks = GaussianField(1.5, 6.0, ndim=3).sample_labels(z**2 + y**2 + x**2 < 64, seed=0, n=5)
work = lambda: fit_field(masks)
"""
STAPLE = """
rng = np.random.default_rng(0)
truth = rng.integers(0, 20, (60, 60))
wrong = rng.random((5, 60, 60)) < 0.5
masks = np.where(wrong, rng.integers(0, 20, wrong.shape), truth)
work = lambda: staple(masks, num_classes=20, max_iterations=100)
"""


@pytest.mark.parametrize("work", [FIT, STAPLE], ids=["fit_field", "staple"])
def test_no_threads_but_ours(work: str) -> None:
    """Those of BLAS wait for one another: beside busy processes, for longer than they work."""
    code = f"""
import time
import numpy as np
from gfnoise import GaussianField, fit_field, staple
from gfnoise._cpu import _pool
{work}
with _pool.alone():
    work()
    process, own = time.process_time(), time.thread_time()
    work()
    print(time.process_time() - process, time.thread_time() - own)
"""
    process, own = map(float, run_python(code, OPENBLAS_NUM_THREADS="2").split())
    assert process < 1.05 * own
