"""Losses and activations: values by hand and by NumPy, gradients by finite differences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from gfnoise import GaussianField, optimal_segmentation, score

torch = pytest.importorskip("torch")

from gfnoise.torch import AdaptiveWingLoss, NormReLU, SoftDiceLoss  # noqa: E402

GENERATOR = torch.Generator().manual_seed(0)
C = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=GENERATOR)
M = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=GENERATOR)


# ------------------------------------------------------------------------------- soft-Dice


def test_soft_dice_is_eq_2() -> None:
    c, m = C.numpy(), M.numpy()
    space = (2, 3)
    expected = 1 - 2 * (c * m).sum(space) / (c.sum(space) + m.sum(space))
    np.testing.assert_allclose(SoftDiceLoss(reduction="none")(C, M), expected, rtol=1e-12)
    assert SoftDiceLoss()(C, M).item() == pytest.approx(expected.mean(), rel=1e-12)
    assert SoftDiceLoss(reduction="sum")(C, M).item() == pytest.approx(expected.sum(), rel=1e-12)
    space = (0, 2, 3)
    expected = 1 - 2 * (c * m).sum(space) / (c.sum(space) + m.sum(space))
    found = SoftDiceLoss(batch=True, reduction="none")(C, M)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_soft_dice_of_a_mask_is_one_minus_its_score() -> None:
    label = np.zeros((1, 1, 20, 20), np.uint8)
    label[..., 5:15, 4:12] = 1
    marginal = GaussianField(2.0, 5.0, ndim=2).marginals(label)
    mask = optimal_segmentation(marginal, ndim=2)
    loss = SoftDiceLoss()(torch.from_numpy(mask).float(), torch.from_numpy(marginal))
    assert loss.item() == pytest.approx(1 - score(mask, marginal, ndim=2).item(), abs=1e-6)


@pytest.mark.parametrize("batch", [False, True])
def test_soft_dice_of_images_without_space_is_that_of_one_voxel(batch: bool) -> None:
    loss = SoftDiceLoss(batch=batch, reduction="none")
    c, m = C[..., 0, 0], M[..., 0, 0]
    assert torch.equal(loss(c, m), loss(c[..., None], m[..., None]))


def test_soft_dice_of_empty_maps() -> None:
    empty = torch.zeros(1, 2, 3, 3, requires_grad=True)
    target = torch.zeros(1, 2, 3, 3)
    target[0, 1, 1, 1] = 1
    loss = SoftDiceLoss(reduction="none")(empty, target)
    assert loss.tolist() == [[0.0, 1.0]]
    loss.sum().backward()
    assert torch.isfinite(empty.grad).all()
    assert (empty.grad[0, 0] == 0).all()  # nothing to learn where both are empty
    assert empty.grad[0, 1, 1, 1] < 0


@pytest.mark.parametrize("batch", [False, True])
def test_gradient_of_soft_dice(batch: bool) -> None:
    c, m = C.clone().requires_grad_(), M.clone().requires_grad_()
    assert torch.autograd.gradcheck(SoftDiceLoss(batch=batch), (c, m))
    assert torch.autograd.gradgradcheck(SoftDiceLoss(batch=batch), (c, m))


def test_soft_dice_in_half_precision_sums_in_float32() -> None:
    c = torch.full((1, 1, 300, 300), 1.0, dtype=torch.float16)  # 90000 overflows float16
    loss = SoftDiceLoss()(c, torch.ones(1, 1, 300, 300, dtype=torch.uint8))
    assert (loss.dtype, loss.item()) == (torch.float32, 0.0)


# --------------------------------------------------------------------------- adaptive wing


def wing(
    prediction: float, y: float, alpha: float, omega: float, theta: float, eps: float
) -> float:
    """Eq. 3.1, as it is printed."""
    distance = abs(y - prediction)
    if distance < theta:
        return omega * np.log(1 + abs((y - prediction) / eps) ** (alpha - y))
    power = theta / eps
    a = omega * (alpha - y) * power ** (alpha - y - 1) / (eps * (1 + power ** (alpha - y)))
    c = theta * a - omega * np.log(1 + power ** (alpha - y))
    return a * distance - c


@pytest.mark.parametrize("settings", [(2.1, 8.0, 0.5, 1.0), (2.5, 3.0, 0.2, 0.7)])
def test_adaptive_wing_is_eq_3_1(settings: tuple[float, ...]) -> None:
    x = 1.4 * C - 0.2
    pairs = zip(x.flatten().tolist(), M.flatten().tolist(), strict=True)
    expected = [wing(c, m, *settings) for c, m in pairs]
    found = AdaptiveWingLoss(*settings, reduction="none")(x, M)
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-12)
    assert AdaptiveWingLoss(*settings)(x, M).item() == pytest.approx(np.mean(expected))


def test_adaptive_wing_is_smooth_at_theta() -> None:
    loss = AdaptiveWingLoss(reduction="sum")
    y = torch.linspace(0, 1, 11, dtype=torch.float64)
    sides = []
    for step in (-1e-9, 1e-9):
        x = (y + 0.5 + step).requires_grad_()
        value = loss(x, y)
        value.backward()
        sides.append((value.item(), x.grad))
    assert sides[0][0] == pytest.approx(sides[1][0], abs=1e-6)
    torch.testing.assert_close(sides[0][1], sides[1][1], atol=1e-6, rtol=0)


def test_gradient_of_adaptive_wing() -> None:
    x = (1.6 * C - 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: AdaptiveWingLoss()(x, M), x)
    exact = M.clone().requires_grad_()
    AdaptiveWingLoss()(exact, M).backward()  # no distance: no slope, and no NaN
    assert (exact.grad == 0).all()
    target = M.clone().requires_grad_()
    x = C.clone().requires_grad_()
    AdaptiveWingLoss()(x, target).backward()
    assert target.grad is None
    ones = torch.ones(4, dtype=torch.uint8)
    x = torch.ones(4, dtype=torch.float16, requires_grad=True)
    loss = AdaptiveWingLoss()(x, ones)
    loss.backward()
    assert loss.dtype == torch.float32
    assert (x.grad == 0).all()


# ------------------------------------------------------------------------- what is no probability


@pytest.mark.parametrize(
    ("loss", "input", "target", "match"),
    [
        (SoftDiceLoss(), 8 * C - 4, M, r"^input must hold probabilities in \[0, 1\], of a sigmoid"),
        (SoftDiceLoss(), C, 255 * M, r"^target must hold probabilities in \[0, 1\], got a minimum"),
        (AdaptiveWingLoss(), 8 * C, -M, r"^target must hold probabilities in \[0, 1\], got a mini"),
    ],
)
def test_what_is_no_probability_is_named(
    loss: torch.nn.Module, input: torch.Tensor, target: torch.Tensor, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        loss(input, target)
    nowhere = torch.zeros_like(C, dtype=torch.bool)
    assert loss(input, target, nowhere) == 0  # what does not count may be anything
    rounded = torch.full_like(C, 1 + 1e-4).half()
    loss(rounded, rounded)
    assert torch.isnan(loss(torch.full_like(C, torch.nan), M))
    per_item = torch.func.vmap(lambda c, m: type(loss)()(c[None], m[None]))
    assert per_item(C, M).shape == C.shape[:1]


# ------------------------------------------------------------------------- what does not count

MASKS = {
    "all channels": torch.rand(2, 1, 4, 5, generator=GENERATOR) < 0.6,
    "each channel": torch.rand(2, 3, 4, 5, generator=GENERATOR) < 0.6,
}
LOSSES = [SoftDiceLoss, AdaptiveWingLoss]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_soft_dice_sums_over_what_counts(name: str, batch: bool) -> None:
    kept = MASKS[name].expand_as(C)
    found = SoftDiceLoss(batch=batch, reduction="none")(C, M, MASKS[name])
    rows = [(c, m, k) for c, m, k in zip(C, M, kept, strict=True)]
    if batch:
        rows = [tuple(torch.stack(one, 1) for one in zip(*rows, strict=True))]  # channels first
    for row, (cs, ms, ks) in zip(found if not batch else found[None], rows, strict=True):
        for value, c, m, k in zip(row, cs, ms, ks, strict=True):
            expected = 1 - 2 * (c[k] * m[k]).sum() / (c[k].sum() + m[k].sum())
            assert value.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("name", MASKS)
def test_adaptive_wing_is_the_mean_over_what_counts(name: str) -> None:
    kept = MASKS[name].expand_as(C)
    expected = AdaptiveWingLoss(reduction="none")(C, M)
    found = AdaptiveWingLoss(reduction="none")(C, M, MASKS[name])
    assert torch.equal(found, expected.where(kept, 0))
    for reduction in ("mean", "sum"):
        of_all = getattr(expected[kept], reduction)()
        torch.testing.assert_close(AdaptiveWingLoss(reduction=reduction)(C, M, MASKS[name]), of_all)


@pytest.mark.parametrize("loss", [*LOSSES, lambda: SoftDiceLoss(batch=True)])
def test_gradients_of_what_counts(loss: Any) -> None:
    mask = MASKS["all channels"]
    x = C.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss()(x, M, mask), x)
    odd, target = C.clone(), M.clone()
    odd[~mask.expand_as(C)] = torch.nan
    target[~mask.expand_as(C)] = torch.nan
    odd.requires_grad_()
    value = loss()(odd, target, mask)
    assert value.item() == loss()(C, M, mask).item()
    value.backward()
    assert (odd.grad[~mask.expand_as(C)] == 0).all()
    assert (odd.grad[mask.expand_as(C)] != 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_all_or_nothing_counts(loss: Any) -> None:
    everything = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    torch.testing.assert_close(loss()(C, M, everything), loss()(C, M), rtol=1e-14, atol=0)
    x = C.clone().requires_grad_()
    value = loss()(x, M, ~everything)
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()
    compiled = torch.compile(loss(), fullgraph=True, backend="aot_eager")
    mask = MASKS["all channels"]
    torch.testing.assert_close(compiled(C, M, mask), loss()(C, M, mask))


def test_a_right_prediction_of_ignored_labels_costs_nothing() -> None:
    """`marginals` is 0 where labels are ignored: without a mask, foreground there is punished."""
    label = np.zeros((1, 1, 20, 20), np.uint8)
    label[..., 5:15, 4:12] = 1
    field = GaussianField(0.0, 5.0, ndim=2)
    right = torch.from_numpy(field.marginals(label))
    label[..., 5:15, 8:16] = 255
    marginal = torch.from_numpy(field.marginals(label, ignore_index=255))
    for loss in (SoftDiceLoss(), AdaptiveWingLoss()):
        assert loss(right, marginal) > 0.1
        assert loss(right, marginal, torch.from_numpy(label != 255)) == 0


# -------------------------------------------------------------------------------- NormReLU


def test_norm_relu_is_eq_4_1() -> None:
    x = 2 * C - 1
    x[1] = -x[1].abs()
    x[0, 2] -= 5
    found = NormReLU()(x)
    positive = np.maximum(x.numpy(), 0)
    np.testing.assert_allclose(found[0], positive[0] / positive[0].max(), rtol=1e-12)
    assert (found[1] == 0).all()
    assert found[0].max() == 1
    assert NormReLU()(x[:0]).shape == (0, 3, 4, 5)


def test_norm_relu_of_classes_is_a_distribution() -> None:
    x = 2 * C - 1
    x[0, :, 0] = -1
    x[1, :, 0, 0] = 0
    for background in (0, 2):
        found = NormReLU(multiclass=True, background=background)(x)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
        assert (found >= 0).all()
        assert (found[0, background, 0] == 1).all()
        assert found[1, background, 0, 0] == 1
        some = (x > 0).any(1, keepdim=True)
        shares = x.relu() / x.relu().sum(1, keepdim=True)
        torch.testing.assert_close(found[some.expand_as(x)], shares[some.expand_as(x)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_norm_relu_keeps_the_dtype(dtype: Any) -> None:
    x = torch.full((1, 3, 2, 2), 4e4, dtype=dtype)  # a sum beyond float16
    for one in (NormReLU(), NormReLU(multiclass=True)):
        found = one(x)
        assert found.dtype == dtype
        expected = 1 / 3 if one.multiclass else 1.0
        assert (found.float() - expected).abs().max() < 2e-3


@pytest.mark.parametrize("multiclass", [False, True])
def test_gradient_of_norm_relu(multiclass: bool) -> None:
    x = 2 * C - 1
    x[0, :, 0] = -0.5
    x.requires_grad_()
    assert torch.autograd.gradcheck(NormReLU(multiclass=multiclass), x)
    empty = torch.zeros(1, 2, 3, requires_grad=True)
    NormReLU(multiclass=multiclass)(empty).sum().backward()
    assert torch.isfinite(empty.grad).all()


# ----------------------------------------------------------------------------------- both


@pytest.mark.parametrize("module", [SoftDiceLoss(batch=True), AdaptiveWingLoss(), NormReLU()])
def test_modules_are_plain(module: Any) -> None:
    assert module.state_dict() == {}
    arguments = (C,) if isinstance(module, NormReLU) else (C, M)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(*arguments), module(*arguments))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), module(*arguments))
    assert "=" in repr(module)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: SoftDiceLoss(reduction="max"), ValueError, "^reduction .*got 'max'"),
        (lambda: SoftDiceLoss()(C, M[:1]), ValueError, r"^target .*\(2, 3, 4, 5\), got \(1, 3"),
        (lambda: SoftDiceLoss()(C, C.numpy()), ValueError, "^target .*got no tensor"),
        (lambda: SoftDiceLoss()(C.long(), M), TypeError, r"^input .*floating.*got torch\.int64"),
        (lambda: SoftDiceLoss()(C[0, 0, 0], M[0, 0, 0]), ValueError, r"^input .*\(B, C, \*space\)"),
        (lambda: SoftDiceLoss()(C, M, C), TypeError, r"^mask .*bool, got torch\.float64"),
        (lambda: SoftDiceLoss()(C, M, True), TypeError, "^mask must be a tensor of bool, got bool"),
        (
            lambda: SoftDiceLoss()(C, M, MASKS["all channels"][:, 0]),
            ValueError,
            r"^mask must be of the input's shape \(2, 3, 4, 5\), or have one .*got \(2, 4, 5\)",
        ),
        (lambda: AdaptiveWingLoss()(C, M, C[:1] > 0), ValueError, r"^mask .*got \(1, 3, 4, 5\)"),
        (
            lambda: AdaptiveWingLoss()(C[0, 0, 0], M[0, 0, 0], torch.tensor(True)),
            ValueError,
            "^mask",
        ),
        (
            lambda: AdaptiveWingLoss()(C[0, 0, 0], M[0, 0, 0], C[0, 0, 0, :, None] > 0),
            ValueError,
            "^mask",
        ),
        (lambda: AdaptiveWingLoss(2.0), ValueError, r"^alpha must be above 2, got 2\.0"),
        (lambda: AdaptiveWingLoss(theta=0), ValueError, "^theta must be a positive.*got 0"),
        (lambda: AdaptiveWingLoss()(C, M[0]), ValueError, "^target must be of the input's shape"),
        (lambda: NormReLU(background=-1), ValueError, "^background .*got -1"),
        (lambda: NormReLU(multiclass=True, background=3)(C), ValueError, "one of the 3 channels"),
        (lambda: NormReLU()(C.long()), TypeError, "^input must be a tensor of a floating dtype"),
        (lambda: NormReLU()(C[0, 0, 0]), ValueError, r"^input .*got \(5,\)"),
    ],
)
def test_bad_input_is_refused(call: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("loss", [SoftDiceLoss, AdaptiveWingLoss])
def test_targets_that_are_no_real_tensors(loss: Any) -> None:
    for target, kind in ((M.numpy(), "no tensor"), (M.tolist(), "no tensor"), (None, "no tensor")):
        with pytest.raises(ValueError, match=rf"^target must be of the input's shape .*got {kind}"):
            loss()(C, target)
    with pytest.raises(TypeError, match=r"^target must be .*real dtype, got torch\.complex64"):
        loss()(C, M.to(torch.complex64))


@pytest.mark.parametrize("loss", [SoftDiceLoss, AdaptiveWingLoss])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_costs_nothing(loss: Any, shape: tuple[int, ...]) -> None:
    """An empty batch, no channels, no voxels: 0, with a mask and without, and a gradient of 0."""
    for mask in (None, torch.ones(shape, dtype=torch.bool)):
        for reduction in ("mean", "sum"):
            input = torch.zeros(shape, requires_grad=True)
            found = loss(reduction=reduction)(input, torch.zeros(shape), mask)
            found.backward()
            assert found.item() == 0
            assert input.grad.shape == shape
        assert loss(reduction="none")(input, torch.zeros(shape), mask).numel() == (
            6 if loss is SoftDiceLoss and shape[2] == 0 else 0
        )
