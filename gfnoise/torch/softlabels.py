"""Losses against soft labels that are never written."""

from typing import Any

import numpy as np
import torch

from .. import _checks, _labels, _raters
from .._loading import load

REDUCTIONS = ("none", "mean", "sum")


def _kernels() -> Any:
    return load("gfnoise._cpu.softlabels")


def svls_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    sigma: float = 1.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Cross-entropy against spatially varying smoothed labels, which are never written.

    The value and the gradient of ``-(svls(labels) * log_softmax(logits, 1)).sum(1)``, from the
    integer labels: no one-hot and no soft volume.

    Parameters
    ----------
    logits : floating-point tensor, (batch, classes, *space)
        Of two or three spatial axes.
    labels : integer or bool tensor, (batch, *space) or (batch, raters, *space)
        In range(classes), or `ignore_index`. With a rater axis: the mean of their soft labels.
    sigma : float, default 1.0
        As in `gfnoise.svls`.
    ignore_index : int, optional
        As in `gfnoise.svls`. Voxels that all raters ignore have no loss and no gradient.
    reduction : {"mean", "sum", "none"}
        "mean" is over the voxels that are not ignored; 0 where there is none.

    Returns
    -------
    tensor, scalar or, for "none", (batch, *space)
        Of the logits' dtype, but float32 for half precision.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    NotImplementedError
        If the tensors are not on the CPU.

    Notes
    -----
    Islam and Glocker 2021, eq. 3, with ``d loss / d logits = softmax(logits) - svls(labels)``.
    Differentiable once. Labels that are written to before the backward pass are an error there, as
    torch's own. It breaks the graphs of torch.compile.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.torch.softlabels import svls_cross_entropy
    >>> labels = torch.zeros((1, 8, 8), dtype=torch.uint8)
    >>> labels[:, :, 4:] = 1
    >>> logits = torch.zeros((1, 2, 8, 8), requires_grad=True)
    >>> loss = svls_cross_entropy(logits, labels)
    >>> loss.backward()
    >>> round(loss.item(), 4)  # log 2
    0.6931
    """
    if torch.compiler.is_compiling():
        from . import _eager

        options: Any = {"sigma": sigma, "ignore_index": ignore_index, "reduction": reduction}
        whole: torch.Tensor = _eager.outside(svls_cross_entropy, logits, labels, **options)
        return whole
    ndim = _check_logits(logits)
    _checks.choice("reduction", reduction, REDUCTIONS)
    if not isinstance(labels, torch.Tensor):
        raise TypeError(f"labels must be a torch tensor, got {type(labels).__qualname__}")
    if labels.device != logits.device:
        raise ValueError(
            f"labels must be on the logits' device {logits.device}, got {labels.device}"
        )
    if logits.device.type != "cpu":
        raise NotImplementedError(
            f"svls_cross_entropy has no kernels for {logits.device.type} tensors yet"
        )
    given = _Options(labels, logits, ndim, sigma, ignore_index)
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    loss: torch.Tensor = _CrossEntropy.apply(wide, given, reduction)
    return loss


def _check_logits(logits: torch.Tensor) -> int:
    """The spatial axes of the logits."""
    if not isinstance(logits, torch.Tensor):
        raise TypeError(f"logits must be a torch tensor, got {type(logits).__qualname__}")
    if not logits.is_floating_point() or logits.dtype.itemsize == 1:
        raise TypeError(f"logits must be of a floating-point dtype, got {logits.dtype}")
    if logits.ndim not in (4, 5) or not logits.shape[1]:
        raise ValueError(
            f"logits must be of shape (batch, classes, *space) with two or three axes of space, "
            f"got {tuple(logits.shape)}"
        )
    return logits.ndim - 2


class _Options:
    """Checked labels, as the kernels take them."""

    def __init__(
        self,
        labels: torch.Tensor,
        logits: torch.Tensor,
        ndim: int,
        sigma: float,
        ignore_index: int | None,
    ) -> None:
        batch, classes, *space = logits.shape
        array = labels.detach().numpy()
        _checks.integral("labels", array)
        given = tuple(labels.shape)
        if labels.ndim == ndim + 1:
            array, labels = array[:, None], labels[:, None]
        if labels.ndim != ndim + 2 or (labels.shape[0], *labels.shape[2:]) != (batch, *space):
            raise ValueError(
                f"labels must be of shape {(batch, *space)} or with raters on axis 1, got {given}"
            )
        rule = _labels.rule(array, "nearest", 0, ignore_index)
        masks = _raters.stack(array, 1, ndim, None, name="labels")
        codes = _labels.encode(masks.labels, ndim)
        _labels.in_classes("labels", codes, array.dtype, classes, rule)
        self.labels = labels.detach()  # whose memory the codes may be
        self.volume = _labels.volume(space)
        self.raters = codes.reshape(batch, masks.raters, *self.volume), masks.annotated
        self.rest = {"ndim": ndim, "sigma": _checks.positive("sigma", sigma), "rule": rule}


class _CrossEntropy(torch.autograd.Function):
    """The fused loss."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, options: _Options, reduction: str) -> torch.Tensor:
        """Compute the loss."""
        batch, classes, *space = logits.shape
        values = logits.detach().contiguous()
        shape = (batch, *space) if reduction == "none" else (0, *space)
        losses = torch.empty(shape, dtype=logits.dtype, device="cpu")
        total, voxels = 0.0, 0.0
        if values.numel():
            total, voxels = _kernels().svls_cross_entropy(
                *options.raters,
                values.numpy().reshape(batch, classes, *options.volume),
                losses.numpy().reshape(-1, *options.volume),
                **options.rest,
            )
        ctx.save_for_backward(logits, options.labels)
        ctx.options = options
        ctx.share = 1 / max(voxels, 1) if reduction == "mean" else 1.0
        return losses if reduction == "none" else logits.new_tensor(total * ctx.share)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Compute the gradient by the logits."""
        logits, _ = ctx.saved_tensors
        with torch.no_grad():
            out = _CrossEntropy._gradient(ctx, logits.detach().contiguous(), slope.detach())
        # With create_graph=True, what is made of it must not pass for a constant.
        return (_Once.apply(out, logits, slope) if torch.is_grad_enabled() else out), None, None

    @staticmethod
    def _gradient(ctx: Any, values: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(values)
        if values.numel():
            shape = (*values.shape[:2], *ctx.options.volume)
            _kernels().svls_cross_entropy_gradient(
                *ctx.options.raters,
                values.numpy().reshape(shape),
                np.multiply(slope.numpy(), ctx.share, dtype=values.numpy().dtype).reshape(-1),
                out.numpy().reshape(shape),
                **ctx.options.rest,
            )
        return out


class _Once(torch.autograd.Function):
    """A gradient that has none."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, logits: torch.Tensor, slope: torch.Tensor
    ) -> torch.Tensor:
        """Give it as it is: a function of the others, for all that autograd knows."""
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> None:
        """Refuse."""
        raise NotImplementedError("svls_cross_entropy is differentiable once")
