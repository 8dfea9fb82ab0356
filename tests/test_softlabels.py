"""Label smoothing, SVLS, several raters' SVLS, and the loss that never writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gfnoise
import oracles_soft as oracles
from devices import cupy_array
from gfnoise._cpu import _pool
from gfnoise.torch.softlabels import svls_cross_entropy

DTYPES = ["?", "u1", "i1", ">i2", "<i4", "u4", ">i8", "u8"]
RNG = np.random.default_rng(7)


def blocks(shape: tuple[int, ...], classes: int, seed: int = 0) -> NDArray[np.int64]:
    """Labels in blocks: uniform neighbourhoods, borders, and a few isolated voxels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, [-(-n // 4) for n in shape])
    labels = coarse
    for axis, n in enumerate(shape):
        labels = labels.repeat(4, axis).take(range(n), axis)
    noise = rng.random(shape) < 0.02
    return np.where(noise, rng.integers(0, classes, shape), labels)


# ---------------------------------------------------------------------------------- one rater


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    classes=st.integers(1, 5),
    dtype=st.sampled_from(DTYPES),
    sigma=st.sampled_from([1.0, 0.3, 0.01, 50.0]),
    ignore=st.sampled_from([None, 1]),
    seed=st.integers(0, 99),
)
@example([1, 1, 1], 2, "u1", 1.0, None, 0)
@example([1, 5, 4], 3, ">i8", 1.0, 1, 0)
def test_svls_is_the_weighted_one_hot(
    shape: list[int], classes: int, dtype: str, sigma: float, ignore: int | None, seed: int
) -> None:
    classes = min(classes, 2) if dtype == "?" else classes
    labels = np.random.default_rng(seed).integers(0, max(classes, 1), shape).astype(dtype)
    soft = gfnoise.svls(labels, classes, ndim=len(shape), sigma=sigma, ignore_index=ignore)
    assert soft.dtype == np.float32
    if sigma > 0.02:  # the oracle's Gaussian underflows
        expected = oracles.svls(labels.astype(int), classes, sigma, ignore)
        np.testing.assert_allclose(soft, expected, atol=1e-6)
    kept = labels != ignore
    np.testing.assert_allclose(soft.sum(0)[kept], 1, atol=1e-6)
    assert not soft.sum(0)[~kept].any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_weights_of_the_paper(ndim: int) -> None:
    """Figure 2a: the centre weighs as much as all others; a lone voxel keeps one half exactly."""
    point = np.zeros((5,) * ndim, np.uint8)
    point[(2,) * ndim] = 1
    soft = gfnoise.svls(point, 2, ndim=ndim)[1]
    weights = soft[(slice(1, 4),) * ndim] / soft[(2,) * ndim]
    assert soft[(2,) * ndim] == 0.5
    assert weights.sum() == pytest.approx(2)
    assert weights[(1,) * (ndim - 1) + (0,)] / weights[(0,) * ndim] == pytest.approx(
        np.exp((ndim - 1) / 2)
    )
    assert not soft[(0,) * ndim]


def test_svls_is_torchs_convolution_of_the_one_hot() -> None:
    labels = blocks((9, 14, 70), 4)
    weights = torch.from_numpy(oracles.svls_weights(3))[None, None]
    hot = torch.from_numpy(oracles.one_hot(labels, 4))[:, None]
    expected = F.conv3d(F.pad(hot, (1,) * 6, mode="replicate"), weights)[:, 0]
    np.testing.assert_allclose(gfnoise.svls(labels, 4, ndim=3), expected.numpy(), atol=1e-6)


def test_uniform_neighbourhoods_are_one_hot() -> None:
    labels = np.full((2, 6, 6, 6), 2, np.int16)
    soft = gfnoise.svls(labels, 4, ndim=3)
    assert np.array_equal(np.unique(soft), [0, 1])
    assert (soft[:, 2] == 1).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_items_are_apart(ndim: int) -> None:
    labels = blocks((2, 3, 5, 6, 7), 3)
    soft = gfnoise.svls(labels, 3, ndim=ndim)
    lead = labels.shape[: 5 - ndim]
    assert soft.shape == (*lead, 3, *labels.shape[5 - ndim :])
    for item in np.ndindex(lead):
        assert np.array_equal(soft[item], gfnoise.svls(labels[item], 3, ndim=ndim))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = blocks((40, 50, 60), 4)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(_pool, "threads", lambda threads=threads: threads)
        results.append(gfnoise.svls(labels, 4, ndim=3))
    assert np.array_equal(*results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_label_smoothing_agrees_with_the_oracle(dtype: str) -> None:
    labels = RNG.integers(0, 2, (2, 3, 4, 5)).astype(dtype)
    soft = gfnoise.smooth_labels(labels, 3, 0.3, ndim=2)
    expected = 0.7 * np.moveaxis(oracles.one_hot(labels, 3), 0, 2) + 0.1
    assert soft.shape == (2, 3, 3, 4, 5)
    np.testing.assert_allclose(soft, expected, atol=1e-6)
    assert np.array_equal(gfnoise.smooth_labels(labels[0], 2, 0.0), oracles.one_hot(labels[0], 2))


def test_label_smoothing_ignores() -> None:
    soft = gfnoise.smooth_labels(np.array([[0, 255, 1]], np.uint8), 2, 0.1, ignore_index=255)
    np.testing.assert_allclose(soft[:, 0], [[0.95, 0, 0.05], [0.05, 0, 0.95]], atol=1e-7)


def test_more_classes_than_the_dtype_holds() -> None:
    labels = np.array([[0, 200], [255, 3]], np.uint8)
    for soft in (gfnoise.svls(labels, 300, ndim=2), gfnoise.smooth_labels(labels, 300, 0.3)):
        assert soft.shape == (300, 2, 2)
        np.testing.assert_allclose(soft.sum(0), 1, atol=1e-5)
        assert np.array_equal(soft.argmax(0), labels)


# ------------------------------------------------------------------------------ several raters


def test_several_raters_average_their_own() -> None:
    masks = np.stack([blocks((6, 7, 8), 3, seed) for seed in range(4)])
    expected = np.mean([gfnoise.svls(mask, 3, ndim=3) for mask in masks], axis=0)
    np.testing.assert_allclose(gfnoise.svls(masks, 3, ndim=3, axis=0), expected, atol=1e-7)
    last = np.moveaxis(masks, 0, -1)
    np.testing.assert_allclose(gfnoise.svls(last, 3, ndim=3, axis=-1), expected, atol=1e-7)


def test_raters_who_annotated_nothing_do_not_count() -> None:
    masks = np.stack([[blocks((6, 7), 2, 10 * i + r) for r in range(3)] for i in range(2)])
    annotated = np.array([[True, False, True], [False, False, True]])
    soft = gfnoise.svls(masks, 2, ndim=2, axis=1, annotated=annotated)
    first = gfnoise.svls(masks[0, [0, 2]], 2, ndim=2, axis=0)
    np.testing.assert_allclose(soft[0], first, atol=1e-7)
    np.testing.assert_allclose(soft[1], gfnoise.svls(masks[1, 2], 2, ndim=2), atol=1e-7)


def test_raters_who_ignore_a_voxel_do_not_count_there() -> None:
    masks = np.stack([blocks((6, 7), 2, seed) for seed in range(3)])
    masks[0, :3] = 9
    masks[:, :, 6] = 9
    soft = gfnoise.svls(masks, 2, ndim=2, axis=0, ignore_index=9)
    own = np.stack([oracles.svls(mask, 2, ignore=9) for mask in masks])
    counts = (masks != 9).sum(0)
    np.testing.assert_allclose(soft, own.sum(0) / np.maximum(counts, 1), atol=1e-6)


# -------------------------------------------------------------------------------- memory, input


@pytest.mark.parametrize("name", ["smooth_labels", "svls"])
def test_odd_memory_is_read_and_written(name: str) -> None:
    def soften(labels: NDArray[Any], **more: Any) -> NDArray[np.float32]:
        if name == "svls":
            return gfnoise.svls(labels, 3, ndim=2, **more)
        return gfnoise.smooth_labels(labels, 3, 0.1, ndim=2, **more)

    labels = blocks((4, 9, 8), 3).astype(np.int16)
    expected = soften(labels)
    frozen = labels.copy()
    frozen.flags.writeable = False
    every = np.repeat(labels, 2, axis=2)[:, :, ::2]
    turned = labels[:, ::-1].copy()[:, ::-1]
    for other in (frozen, every, turned, labels.astype(">i2"), np.asfortranarray(labels)):
        assert np.array_equal(soften(other), expected)
    same = np.broadcast_to(labels[:1], labels.shape)
    assert np.array_equal(soften(same)[2], expected[0])
    out = np.empty(expected.shape[::-1], np.float32).T
    assert soften(labels, out=out) is out
    assert np.array_equal(out, expected)
    for empty in ((0, 9, 8), (2, 0, 8), (2, 9, 0)):
        assert soften(np.zeros(empty, np.uint8)).shape == (empty[0], 3, *empty[1:])


MASK = np.zeros((3, 4, 5), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gfnoise.smooth_labels(MASK + 3, 3, 0.1), r"labels must be in \[0, 2\], got 3"),
        (lambda: gfnoise.svls(MASK.astype(int) - 1, 3, ndim=3), r"in \[0, 2\], got -1"),
        (lambda: gfnoise.smooth_labels(MASK, 2, 1.0), r"alpha must be in \[0, 1\), got 1.0"),
        (lambda: gfnoise.smooth_labels(MASK, 2, -0.1), r"alpha must be in \[0, 1\), got -0.1"),
        (lambda: gfnoise.smooth_labels(MASK, 2, float("nan")), "alpha must be a finite number"),
        (lambda: gfnoise.smooth_labels(MASK, 0, 0.1), "num_classes must be an integer of at least"),
        (lambda: gfnoise.smooth_labels(MASK[None], 2, 0.1), "ndim must say how many"),
        (lambda: gfnoise.smooth_labels(MASK, 2, 0.1, ndim=4), "ndim must be between 1 and the 3"),
        (lambda: gfnoise.svls(MASK, 2, ndim=3, sigma=0.0), "sigma must be a positive"),
        (lambda: gfnoise.svls(MASK, 2, ndim=3, sigma=-1.0), "sigma must be a positive"),
        (lambda: gfnoise.svls(MASK, 2, ndim=4), "ndim must be 2 or 3, got 4"),
        (
            lambda: gfnoise.svls(MASK, 2, ndim=3, axis=0),
            "^labels without the raters' axis must have at least ndim=3 axes",
        ),
        (lambda: gfnoise.svls(MASK, 2, ndim=2, axis=3), "axis must be one of the 3 axes"),
        (lambda: gfnoise.svls(MASK[:0], 2, ndim=2, axis=0), "labels must be of at least 1 rater"),
        (lambda: gfnoise.svls(MASK, 2, ndim=2, annotated=[True]), "annotated goes with axis"),
        (
            lambda: gfnoise.svls(MASK, 2, ndim=2, axis=0, annotated=[True]),
            r"annotated must be of shape \(3,\)",
        ),
        (
            lambda: gfnoise.svls(MASK, 2, ndim=2, axis=0, annotated=[False] * 3),
            "at least 1 rater per item that annotated it, got 0",
        ),
        (
            lambda: gfnoise.svls(MASK, 2, ndim=3, out=np.empty((3, 3, 4, 5), np.float32)),
            r"out must be of shape \(2, 3, 4, 5\)",
        ),
    ],
)
def test_bad_values_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gfnoise.svls(MASK.astype(float), 2, ndim=3), "labels must be of bool or an int"),
        (lambda: gfnoise.svls([[0, 1]], 2, ndim=2), "labels must be a NumPy array"),
        (lambda: gfnoise.smooth_labels(MASK, 2.5, 0.1), "num_classes must be an integer"),
        (lambda: gfnoise.smooth_labels(MASK, 2, "0.1"), "alpha must be a finite number"),
        (lambda: gfnoise.svls(MASK, 2, ndim=2, axis="z"), "axis must be an integer"),
        (
            lambda: gfnoise.svls(MASK, 2, ndim=2, axis=0, annotated=[1, 0, 1]),
            "annotated must be of bool",
        ),
    ],
)
def test_bad_types_are_refused(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(("name", "last"), [("smooth_labels", 0.1), ("svls", None)])
def test_arrays_of_cupy_have_no_kernels(
    name: str, last: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = cupy_array(monkeypatch)
    more: dict[str, Any] = {"ndim": 2} if last is None else {"alpha": last}
    with pytest.raises(NotImplementedError, match=f"^{name} has no kernels for CuPy arrays yet"):
        getattr(gfnoise, name)(array, 3, **more)


def test_no_sigma_is_too_small_or_too_large() -> None:
    point = np.zeros((3, 3), np.uint8)
    point[1, 1] = 1
    narrow, wide = (gfnoise.svls(point, 2, ndim=2, sigma=s)[1] for s in (5e-324, 1e300))
    np.testing.assert_allclose(narrow[:2, :2], [[0, 1 / 8], [1 / 8, 1 / 2]])
    np.testing.assert_allclose(wide[:2, :2], [[1 / 16, 1 / 16], [1 / 16, 1 / 2]])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8"])
def test_several_raters_and_items_who_ignore_are_the_plain_ones(dtype: str) -> None:
    """Long rows, borders of classes and of what is ignored, more raters than one."""
    masks = np.stack([[blocks((3, 5, 70), 4, 9 * i + r) for r in range(3)] for i in range(2)])
    soft = gfnoise.svls(masks.astype(dtype), 4, ndim=3, axis=1, ignore_index=2)
    for item in range(2):
        own = np.stack([oracles.svls(mask, 4, ignore=2) for mask in masks[item]])
        counts = (masks[item] != 2).sum(0)
        np.testing.assert_allclose(soft[item], own.sum(0) / np.maximum(counts, 1), atol=1e-6)


def test_nothing_is_written_on_an_error() -> None:
    out = np.full((2, 3, 4, 5), 7, np.float32)
    with pytest.raises(ValueError, match="labels must be in"):
        gfnoise.svls(MASK + 2, 2, ndim=3, out=out)
    assert (out == 7).all()


def test_tensors_give_tensors() -> None:
    labels = blocks((2, 6, 7), 3)
    for soften in (
        lambda x: gfnoise.svls(x, 3, ndim=2),
        lambda x: gfnoise.svls(x, 3, ndim=2, axis=0),
        lambda x: gfnoise.smooth_labels(x, 3, 0.1),
    ):
        found = soften(torch.from_numpy(labels))
        assert isinstance(found, torch.Tensor)
        assert np.array_equal(found.numpy(), soften(labels))


# ---------------------------------------------------------------------------------- resampling


def test_soft_labels_stay_soft_through_resampling() -> None:
    """SoftSeg keeps what interpolation gives: order 1, class by class, sums to 1 everywhere."""
    soft = gfnoise.svls(blocks((9, 8, 7), 3), 3, ndim=3)
    zoom = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 2 * n) for n in (9, 8, 7)), indexing="ij"))
    moved = gfnoise.map_coordinates(soft, zoom, order=1, mode="nearest")
    assert moved.shape == (3, 18, 16, 14)
    np.testing.assert_allclose(moved.sum(0), 1, atol=1e-5)
    assert ((moved > 0.01) & (moved < 0.99)).mean() > 0.3


# ------------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize("shape", [(2, 4, 3, 5, 18), (2, 3, 12, 10), (1, 1, 3, 4), (1, 2, 1, 1)])
@pytest.mark.parametrize("ignore", [None, 0])
@pytest.mark.parametrize("raters", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_that_of_two_steps(
    shape: tuple[int, ...], ignore: int | None, raters: int | None, dtype: torch.dtype
) -> None:
    batch, classes, *space = shape
    generator = torch.Generator().manual_seed(3)
    count = raters or 1
    labels = torch.stack(
        [
            torch.from_numpy(
                np.stack([blocks(tuple(space), classes, 10 * i + r) for r in range(count)])
            )
            for i in range(batch)
        ]
    )
    logits = 4 * torch.randn(shape, generator=generator, dtype=dtype)
    expected = np.zeros((2, batch, *space))
    gradient = np.zeros(shape)
    for i in range(batch):
        own = np.stack([oracles.svls(one, classes, ignore=ignore) for one in labels[i].numpy()])
        votes = (labels[i].numpy() != ignore).sum(0)
        soft = own.sum(0) / np.maximum(votes, 1)
        expected[0, i], gradient[i] = oracles.cross_entropy(logits[i].double().numpy(), soft)
        expected[1, i] = votes > 0
    losses, kept = expected
    given_labels = labels if raters else labels[:, 0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10

    for reduction in ("none", "sum", "mean"):
        logits.requires_grad_(True)
        loss = svls_cross_entropy(logits, given_labels, ignore_index=ignore, reduction=reduction)
        total = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / max(kept.sum(), 1)}
        assert loss.dtype == dtype
        np.testing.assert_allclose(
            loss.detach().numpy(), total[reduction], rtol=tolerance, atol=tolerance
        )
        slope = torch.randn(loss.shape, generator=generator, dtype=dtype)
        (found,) = torch.autograd.grad(loss, logits, slope)
        weight = slope.double().numpy()
        weight = weight[:, None] if reduction == "none" else weight
        weight = weight / max(kept.sum(), 1) if reduction == "mean" else weight
        np.testing.assert_allclose(found.numpy(), weight * gradient, atol=tolerance)


def test_a_matrix_is_an_array() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0]])
    found = gfnoise.svls(labels.view(np.matrix), 2, ndim=2)
    np.testing.assert_array_equal(found, gfnoise.svls(labels, 2, ndim=2))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_labels_that_change_before_the_backward_pass_are_an_error(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=dtype)
    loss = svls_cross_entropy(logits, labels)
    labels.fill_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_derivative_is_refused() -> None:
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = svls_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.uint8))
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    (expected,) = torch.autograd.grad(
        svls_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.uint8)), logits
    )
    assert torch.equal(gradient, expected)
    assert not expected.requires_grad
    with pytest.raises(NotImplementedError, match="svls_cross_entropy is differentiable once"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_penalty_of_the_gradient_is_refused(dtype: torch.dtype) -> None:
    """Also where autograd is asked for the logits alone."""
    logits = torch.ones(1, 2, 4, 4, dtype=dtype, requires_grad=True)
    loss = svls_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.uint8))
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    penalised = loss + gradient.square().sum()
    with pytest.raises(NotImplementedError, match="svls_cross_entropy is differentiable once"):
        torch.autograd.grad(penalised, logits)


def test_the_losses_gradient_is_the_numerical_one() -> None:
    labels = torch.from_numpy(blocks((5, 6), 3)[None])
    logits = torch.randn((1, 3, 5, 6), dtype=torch.float64, requires_grad=True)
    for reduction in ("none", "mean"):
        assert torch.autograd.gradcheck(
            lambda z, r=reduction: svls_cross_entropy(z, labels, reduction=r), logits
        )


def test_hard_logits_of_the_loss() -> None:
    labels = torch.zeros((1, 4, 4), dtype=torch.uint8)
    logits = torch.zeros((1, 2, 4, 4))
    logits[:, 1] = -torch.inf  # a class that is masked out, and not wanted
    logits.requires_grad_(True)
    loss = svls_cross_entropy(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    big = torch.full((1, 2, 4, 4), 3e38)
    assert svls_cross_entropy(big, labels).item() == pytest.approx(np.log(2))
    assert torch.isnan(svls_cross_entropy(big * torch.nan, labels))


def test_half_precision_and_odd_memory_of_the_loss() -> None:
    labels = torch.from_numpy(blocks((8, 6), 2)[None])
    logits = torch.randn((1, 2, 6, 8)).transpose(2, 3)
    expected = svls_cross_entropy(logits.contiguous(), labels)
    assert torch.equal(svls_cross_entropy(logits, labels), expected)
    for dtype in (torch.float16, torch.bfloat16):
        half = logits.to(dtype).requires_grad_(True)
        loss = svls_cross_entropy(half, labels)
        loss.backward()
        assert loss.dtype == torch.float32
        assert half.grad.dtype == dtype
        assert loss.item() == pytest.approx(expected.item(), rel=2e-2)
    assert svls_cross_entropy(torch.zeros((0, 2, 3, 3)), torch.zeros((0, 3, 3)).long()).item() == 0
    ignored = svls_cross_entropy(logits, 0 * labels, ignore_index=0)
    assert ignored.item() == 0


@pytest.mark.parametrize(
    ("error", "change", "message"),
    [
        (ValueError, {"labels": torch.full((1, 4, 4), 2)}, r"labels must be in \[0, 1\], got 2"),
        (
            ValueError,
            {"labels": torch.zeros((1, 4, 5)).long()},
            r"shape \(1, 4, 4\) or with raters",
        ),
        (ValueError, {"labels": torch.zeros((2, 4, 5)).bool()}, r"got \(2, 4, 5\)$"),
        (ValueError, {"logits": torch.zeros((2, 4, 4))}, r"logits must be of shape \(batch"),
        (ValueError, {"sigma": 0.0}, "sigma must be a positive"),
        (ValueError, {"reduction": "max"}, "reduction must be one of 'none', 'mean', 'sum'"),
        (TypeError, {"labels": torch.zeros((1, 4, 4))}, "labels must be of bool or an integer"),
        (TypeError, {"labels": np.zeros((1, 4, 4), int)}, "labels must be a torch tensor"),
        (TypeError, {"logits": torch.zeros((1, 2, 4, 4)).long()}, "logits must be of a floating"),
        (
            ValueError,
            {"labels": torch.zeros((1, 4, 4), device="meta").long()},
            "logits' device cpu",
        ),
    ],
)
def test_bad_arguments_of_the_loss(
    error: type[Exception], change: dict[str, Any], message: str
) -> None:
    arguments = {"logits": torch.zeros((1, 2, 4, 4)), "labels": torch.zeros((1, 4, 4)).long()}
    with pytest.raises(error, match=message):
        svls_cross_entropy(**{**arguments, **change})


def test_the_loss_says_where_it_has_no_kernels() -> None:
    logits = torch.zeros((1, 2, 4, 4), device="meta")
    with pytest.raises(NotImplementedError, match="svls_cross_entropy has no kernels for meta"):
        svls_cross_entropy(logits, torch.zeros((1, 4, 4), device="meta").long())
