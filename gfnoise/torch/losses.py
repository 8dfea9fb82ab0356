"""Losses and activations for soft labels; cross-entropy with soft targets is torch's own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import _checks, _values
from .._decisions import ROUNDING
from ._tensors import is_traced
from .softlabels import REDUCTIONS


class SoftDiceLoss(nn.Module):
    """Soft-Dice: ``1 - 2 sum(c m) / (|c|_1 + |m|_1)`` (Nordström, Hult and Maki 2023, eq. 2).

    Parameters
    ----------
    batch : bool, default False
        Sum over the items of the batch as well, as if they were one image; else each item and
        channel has a Dice of its own.
    reduction : {"mean", "sum", "none"}
        Over items and channels; "none" gives (B, C), or (C,) with `batch`.

    Notes
    -----
    `forward(input, target, mask=None)` takes probabilities of shape (B, C, *space), from a sigmoid,
    a softmax or `NormReLU`, and soft labels or masks of the same shape. `mask`, of bool, says which
    voxels count, in the input's shape or, for all channels alike, in (B, 1, *space): without it, a
    marginal's zeros where labels are ignored would be taken for background. Nothing else is read of
    the other voxels, and their gradient is 0. Two maps without mass agree: their loss is 0, and so
    is that of an empty batch. Sums are in float32 at least.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import SoftDiceLoss
    >>> probabilities = torch.tensor([[[1.0, 0.5, 0.0, 0.0]]])
    >>> marginals = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> round(SoftDiceLoss()(probabilities, marginals).item(), 4)  # 1 - 2 * 1.5 / 3.5
    0.1429
    >>> labels = torch.tensor([[[1, 255, 0, 0]]])  # 255: ignored
    >>> round(SoftDiceLoss()(probabilities, marginals, labels != 255).item(), 4)
    0.0
    """

    def __init__(self, *, batch: bool = False, reduction: str = "mean"):
        super().__init__()
        _checks.choice("reduction", reduction, REDUCTIONS)
        self.batch, self.reduction = bool(batch), reduction

    def forward(self, input: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss of probabilities against soft labels, where `mask` is True.

        Parameters
        ----------
        input, target : tensor, (B, C, *space)
            As in the class's notes.
        mask : bool tensor, optional
            Of the same shape, or (B, 1, *space).

        Returns
        -------
        tensor
            As `reduction` says.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; values on a device are looked at only under
            `check_values`, those that are traced never.
        """
        c, m = _masked(mask, *_pair(input, target, least=2))
        _probabilities("input", c, ", of a sigmoid or a softmax")
        _probabilities("target", m)
        axes = [0] * self.batch + [*range(2, c.dim())]
        inside, mass = _over(c * m, axes), _over(c.abs() + m.abs(), axes)
        empty = mass == 0
        dice = torch.where(empty, 1.0, 2 * inside / torch.where(empty, 1.0, mass))
        return _reduced(1 - dice, self.reduction)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"batch={self.batch}, reduction={self.reduction!r}"


class AdaptiveWingLoss(nn.Module):
    """Regression loss that weighs foreground more (Lemay 2022, eq. 3.1; Wang et al. 2019).

    With ``d = |y - prediction|`` for a target y: ``omega ln(1 + (d / epsilon)**(alpha - y))`` where
    ``d < theta``, else ``A d - C``, with A and C such that value and slope go on at theta.

    Parameters
    ----------
    alpha : float, default 2.1
        Above 2, for a slope of 0 at ``d = 0``.
    omega, theta, epsilon : float, default 8, 0.5 and 1
        Positive.
    reduction : {"mean", "sum", "none"}
        Over all elements.

    Notes
    -----
    `forward(input, target, mask=None)` takes tensors of one shape, targets in [0, 1]. The target
    gets no gradient. `mask` is that of `SoftDiceLoss`; the mean is then over what counts, and 0
    where nothing does. Computed in float32 at least.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import AdaptiveWingLoss
    >>> loss = AdaptiveWingLoss()(torch.tensor([0.9, 0.0]), torch.tensor([1.0, 0.0]))
    >>> round(loss.item(), 4)
    0.3057
    """

    def __init__(
        self,
        alpha: float = 2.1,
        omega: float = 8.0,
        theta: float = 0.5,
        epsilon: float = 1.0,
        *,
        reduction: str = "mean",
    ):
        super().__init__()
        self.alpha = _checks.positive("alpha", alpha)
        if self.alpha <= 2:
            raise ValueError(f"alpha must be above 2, got {alpha!r}")
        self.omega = _checks.positive("omega", omega)
        self.theta = _checks.positive("theta", theta)
        self.epsilon = _checks.positive("epsilon", epsilon)
        _checks.choice("reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss of a prediction against soft labels, where `mask` is True.

        As `SoftDiceLoss.forward`, but for tensors of any one shape.
        """
        # What does not count is masked to a prediction without distance: no loss, no slope.
        prediction, y = _pair(input, target, least=0)
        prediction, y = _masked(mask, prediction, y.detach())
        _probabilities("target", y)
        distance = (y - prediction).abs()
        exponent = self.alpha - y
        ratio = (self.theta / self.epsilon) ** exponent
        at_theta = self.omega * torch.log1p(ratio)
        slope = self.omega * exponent * ratio / (self.theta * (1 + ratio))
        near = self.omega * torch.log1p((distance / self.epsilon) ** exponent)
        far = slope * (distance - self.theta) + at_theta
        loss = torch.where(distance < self.theta, near, far)
        if mask is None or self.reduction != "mean":
            return _reduced(loss, self.reduction)
        return loss.sum() / mask.expand_as(loss).sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return (
            f"alpha={self.alpha}, omega={self.omega}, theta={self.theta}, epsilon={self.epsilon}, "
            f"reduction={self.reduction!r}"
        )


class NormReLU(nn.Module):
    """Normalised ReLU, an activation that does not polarise soft predictions (Lemay 2022, eq. 4.1).

    Parameters
    ----------
    multiclass : bool, default False
        False: ``ReLU(x)`` over its maximum, per item, over channels and space; 0 where that is 0.
        True: ``ReLU(x)`` over its sum on the channel axis; a voxel without any positive value is
        background.
    background : int, default 0
        The channel of the background.

    Notes
    -----
    `forward(input)` takes and returns (B, C, *space), in the dtype of the input.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch import NormReLU
    >>> NormReLU()(torch.tensor([[[-1.0, 1.0, 4.0]]]))
    tensor([[[0.0000, 0.2500, 1.0000]]])
    >>> NormReLU(multiclass=True)(torch.tensor([[[3.0, -1.0], [1.0, -2.0]]]))
    tensor([[[0.7500, 1.0000],
             [0.2500, 0.0000]]])
    """

    def __init__(self, *, multiclass: bool = False, background: int = 0):
        super().__init__()
        self.multiclass = bool(multiclass)
        self.background = _checks.integer("background", background, 0)

    def forward(self, input: Tensor) -> Tensor:
        """Compute the activation.

        Parameters
        ----------
        input : tensor of a floating dtype, (B, C, *space)

        Returns
        -------
        tensor
            Of the input's shape and dtype.

        Raises
        ------
        ValueError, TypeError
            If the input is not as described, or has no channel `background`.
        """
        _floating("input", input)
        if input.dim() < 2:
            raise ValueError(f"input must be of shape (B, C, *space), got {tuple(input.shape)}")
        positive = input.relu()
        if not self.multiclass:
            if not input.numel():
                return positive
            largest = positive.amax(list(range(1, input.dim())), keepdim=True)
            return positive / torch.where(largest > 0, largest, 1)
        if self.background >= input.shape[1]:
            raise ValueError(
                f"background must be one of the {input.shape[1]} channels, got {self.background}"
            )
        total = positive.sum(1, keepdim=True, dtype=_wide(input))
        none = total == 0
        shares = (positive / torch.where(none, 1, total)).to(input.dtype)
        channel = torch.arange(input.shape[1], device=input.device) == self.background
        rest = none & channel.reshape(1, -1, *[1] * (input.dim() - 2))
        return torch.where(rest, 1, shares)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"multiclass={self.multiclass}, background={self.background}"


def _floating(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__qualname__
        raise TypeError(f"{name} must be a tensor of a floating dtype, got {kind}")


def _wide(tensor: Tensor) -> torch.dtype:
    """float64 for float64, float32 for all else."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _pair(input: Tensor, target: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    """Prediction and target in one wide dtype."""
    _floating("input", input)
    if not isinstance(target, Tensor) or target.shape != input.shape:
        shape: Sequence[int] | str = "no tensor"
        if isinstance(target, Tensor):
            shape = tuple(target.shape)
        raise ValueError(f"target must be of the input's shape {tuple(input.shape)}, got {shape}")
    if target.is_complex():
        raise TypeError(f"target must be a tensor of a real dtype, got {target.dtype}")
    if input.dim() < least:
        raise ValueError(f"input must be of shape (B, C, *space), got {tuple(input.shape)}")
    dtype = torch.promote_types(_wide(input), _wide(target))
    return input.to(dtype), target.to(dtype)


def _masked(mask: Tensor | None, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and target, 0 where the mask is False: not by a product, which keeps NaN."""
    if mask is None:
        return input, target
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__qualname__
        raise TypeError(f"mask must be a tensor of bool, got {kind}")
    shape = tuple(input.shape)
    one_channel = (shape[0], 1, *shape[2:]) if len(shape) > 1 else shape
    if tuple(mask.shape) not in (shape, one_channel):
        raise ValueError(
            f"mask must be of the input's shape {shape}, or have one channel, "
            f"got {tuple(mask.shape)}"
        )
    return input.masked_fill(~mask, 0), target.masked_fill(~mask, 0)


def _probabilities(name: str, values: Tensor, of: str = "") -> None:
    """Raise ValueError if a value is no probability; on a device only where values are checked."""
    if torch.compiler.is_compiling() or is_traced(values) or not values.numel():
        return
    if values.device.type == "cpu" or _values.readable(values):
        least, most = (bound.item() for bound in values.detach().aminmax())
        if least < -ROUNDING or most > 1 + ROUNDING:  # NaN stays NaN
            raise ValueError(
                f"{name} must hold probabilities in [0, 1]{of}, "
                f"got a minimum of {least:g} and a maximum of {most:g}"
            )


def _over(values: Tensor, axes: list[int]) -> Tensor:
    """Sums over the axes; over none of them, where torch would take all."""
    return values.sum(axes) if axes else values


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    # A mean over nothing is 0, as over a mask that is nowhere True.
    return loss.sum() / max(loss.numel(), 1) if reduction == "mean" else loss.sum()
