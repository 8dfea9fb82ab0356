"""What labels and images are given as: the axes of a tensor, and whether they are in order."""

from typing import Any

from torch import Tensor

_FEW = 4  # channels that labels are given with, or images
AS_INTEGERS = "use .long() or .to(torch.uint8)"


def items(
    tensor: Any, ndim: int, *, floating: bool = False, name: str = "labels", item: bool = False
) -> int:
    """Check labels (B, C, *space) or (B, *space) or, with `floating`, an image; count their items.

    With `item`, the user gave the items: errors speak of one, (C, *space), not of the batch.
    """
    if not isinstance(tensor, Tensor):
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise TypeError(f"{name} must be a torch tensor, got {kind}")
    shape = tuple(tensor.shape)
    real = tensor.is_floating_point()
    if real is not floating or tensor.is_complex():
        expected = "a floating dtype" if floating else "bool or an integer dtype"
        hint = "" if floating else f" (integer-coded: {AS_INTEGERS})"
        raise TypeError(
            f"{name} must be of {expected}{hint}, got {tensor.dtype} of shape {shape[item:]}"
        )
    if len(shape) - ndim not in (1, 2):
        shapes = "(C, *space) or (*space)" if item else "(B, C, *space) or (B, *space)"
        raise ValueError(
            f"{name} must be of shape {shapes} with ndim={ndim} axes of space, got {shape[item:]}"
        )
    if not floating and len(shape) == ndim + 2 and shape[1] > 1 and tensor.numel():
        _refuse_channels_last(name, shape[item:], item)
        _refuse_one_hot(name, tensor, 1, f"argmax({1 - item}, keepdim=True)", item)
        if 1 < shape[-1] < min(shape[-ndim:-1]):
            _refuse_one_hot(name, tensor, -1, "argmax(-1)", item)
    return shape[0]


def _refuse_channels_last(name: str, shape: tuple[int, ...], item: bool) -> None:
    """Raise ValueError if there are as many channels as voxels, and few voxels along the last axis.

    The channels of integer-coded labels are few: one, or one per rater.
    """
    channels, *space, last = shape[1 - item :]
    alike = last <= _FEW and 4 * last <= channels and 4 * channels >= 3 * min(space)
    if alike or (last == 1 and channels > _FEW):
        expected, place = ("(C, *space)", 0) if item else ("(B, C, *space)", 1)
        raise ValueError(
            f"{name} must be of shape {expected}, got {shape}, whose channels look to be last: "
            f"use movedim(-1, {place})"
        )


def _refuse_one_hot(name: str, labels: Tensor, axis: int, remedy: str, item: bool) -> None:
    """Raise ValueError if CPU labels are indicators of the classes that an axis has."""
    if labels.device.type != "cpu":
        return
    for part in (labels[:1].narrow(-2, 0, 1), labels):  # most label maps are known by their edge
        if ((part != 0) & (part != 1)).any() or (part.sum(axis) != 1).any():
            return
    raise ValueError(
        f"{name} must be integer-coded, got one-hot ones of shape {tuple(labels.shape)[item:]}: "
        f"use {remedy}"
    )
