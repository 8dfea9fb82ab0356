"""The gradients of the filter and of the interpolation, as torch's own operations."""

import itertools
from typing import Any

import torch

from .._axes import along_axes
from .._taps import sampled, weights

Tensor = torch.Tensor
_BEYOND = 1e15  # as in the kernels: what a mode repeats is lost there
_ENDING = ("constant", "wrap")  # modes with a jump behind the last voxel


# --- the filter ---------------------------------------------------------------------------------


def gaussian_filter_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep the settings; a filter is linear and needs no more."""
    source, sigma, axes, mode, _, truncate, radius, _ = inputs
    ctx.dtype = source.dtype
    sigma, modes, radius = (
        values[0] if values is not None and len(values) == 1 else values
        for values in (sigma, mode.split(","), radius)
    )
    ctx.plan = along_axes(
        source.dim(), sigma, axes=axes, mode=modes, truncate=truncate, radius=radius
    )


def gaussian_filter_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Apply the transpose of the filter, axis by axis.

    As a matrix, a filter with symmetric taps equals its transpose where the outside is zero, the
    image repeated, or the image reflected about its edge. In the mode "mirror" that holds once
    the outermost voxels are counted half, for they alone have no image of their own. In the mode
    "nearest", what the taps would leave outside the image is gathered into its outermost voxels.
    """
    if not grad.numel():
        return grad.to(ctx.dtype), *[None] * 7
    alike = [setting for setting in ctx.plan if setting[-1] not in ("mirror", "nearest")]
    grad = _filtered(grad, alike)
    for axis, sigma, radius, mode in ctx.plan:
        if mode == "mirror":
            weight = grad.new_ones(grad.shape[axis])
            weight[0] = weight[-1] = 2
            weight = weight.reshape([-1] + [1] * (grad.dim() - 1 - axis))
            grad = _filtered(grad * weight, [(axis, sigma, radius, mode)]) / weight
        elif mode == "nearest":
            grad = _gathered(grad, axis, sigma, radius)
    return grad.to(ctx.dtype), *[None] * 7


def _gathered(grad: Tensor, axis: int, sigma: float, radius: int) -> Tensor:
    size = grad.shape[axis]
    inner = _filtered(grad, [(axis, sigma, radius, "constant")])
    tails = _tails(grad, size, sigma, radius).reshape([-1] + [1] * (grad.dim() - 1 - axis))
    before, after = ((grad * one).sum(axis, keepdim=True) for one in (tails, tails.flip(0)))
    edge = torch.arange(size, device=grad.device).reshape(tails.shape)
    return inner + before * (edge == 0) + after * (edge == size - 1)


def _tails(grad: Tensor, size: int, sigma: float, radius: int) -> Tensor:
    """The sums of the taps from 1, 2, ..., `size` voxels on, up to the radius."""
    centre, side = weights(sampled(sigma, radius, 1))  # all behind the first voxel are one
    distance = torch.arange(size, dtype=torch.float64, device=grad.device)
    taps = centre * (-0.5 * (distance / sigma) ** 2).exp()
    taps = taps.masked_fill((distance == 0) | (distance > radius), 0)
    return (side - taps.cumsum(0)).masked_fill(distance >= radius, 0).to(grad.dtype)


def _filtered(values: Tensor, plan: list[tuple[int, float, int, str]]) -> Tensor:
    if not plan or not values.numel():
        return values
    axes, sigma, radius, modes = (list(column) for column in zip(*plan, strict=True))
    return torch.ops.gfnoise.gaussian_filter(
        values, sigma, axes, ",".join(modes), 0.0, 4.0, radius, None
    )


# --- the interpolation --------------------------------------------------------------------------


def map_coordinates_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep both arrays: the gradient of each is a matter of the other."""
    source, coordinates, ctx.order, ctx.mode, ctx.cval, _ = inputs
    ctx.save_for_backward(source, coordinates)


def map_coordinates_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Spread the gradient over the corners; their differences are the gradient of a point."""
    source, coordinates = ctx.saved_tensors
    axes = coordinates.shape[0]
    lead, space = source.shape[: source.dim() - axes], source.shape[source.dim() - axes :]
    images = source.to(grad.dtype).reshape(lead.numel(), space.numel())
    count = coordinates.shape[1:].numel()
    spread = grad.reshape(lead.numel(), count)
    corners, lost = _corners(coordinates.reshape(axes, count), space, ctx.order, ctx.mode)
    spread = spread.masked_fill(lost, 0)

    to_source = torch.zeros_like(images) if ctx.needs_input_grad[0] else None
    to_points = spread.new_zeros(axes, count) if ctx.needs_input_grad[1] else None
    for corner in itertools.product(*corners):
        flat, valid = torch.zeros_like(corner[0][0]), torch.ones_like(lost)
        for (index, *_), size in zip(corner, space, strict=True):
            flat, valid = flat * size + index.clamp(min=0), valid & (index >= 0)
        weights = torch.stack([weight for _, weight, _ in corner]).to(grad.dtype)
        if to_source is not None:
            share = (weights.prod(0) * spread).masked_fill(~valid, 0)
            to_source = to_source.index_add(1, flat, share)
        if to_points is not None and ctx.order:
            value = images[:, flat].masked_fill(~valid, ctx.cval)
            value = (value * spread).sum(0)
            for axis, (*_, slope) in enumerate(corner):
                others = weights[[i for i in range(axes) if i != axis]].prod(0)
                to_points[axis] += value * slope * others
    if to_points is not None:
        to_points = to_points.masked_fill(lost, 0)
    return (
        None if to_source is None else to_source.reshape(source.shape).to(source.dtype),
        None if to_points is None else to_points.reshape(coordinates.shape).to(coordinates.dtype),
        *[None] * 4,
    )


def _corners(
    points: Tensor, space: torch.Size, order: int, mode: str
) -> tuple[list[list[tuple[Tensor, Tensor, Tensor]]], Tensor]:
    """Per axis the voxels around each point, as (index or -1, weight, its slope); lost points."""
    corners = []
    lost = torch.zeros_like(points[0], dtype=torch.bool)
    for coordinate, size in zip(points.double(), space, strict=True):
        folded, slope, gone = _fold(coordinate, size, mode)
        lost = lost | gone
        if order == 0:
            index = _voxel((folded + 0.5).floor().long(), size, mode)
            corners.append([(index, torch.ones_like(folded), slope)])
            continue
        low = folded.floor()
        if mode in _ENDING:  # at the last voxel, the slope is that before it
            low = low.clamp(max=max(size - 2, 0))
        fraction, low = folded - low, low.long()
        corners.append(
            [
                (_voxel(low, size, mode), 1 - fraction, -slope),
                (_voxel(low + 1, size, mode), fraction, slope),
            ]
        )
    return corners, lost


def _fold(x: Tensor, size: int, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    """A coordinate as the kernels map it, the slope of that, and whether it is lost."""
    inside = (x >= 0) & (x <= size - 1)
    if mode == "constant":
        known = inside
    elif mode == "grid-constant":
        known = (x >= -1) & (x <= size)
    elif mode == "nearest":
        known = ~x.isnan()
    else:
        known = inside | (x.abs() <= _BEYOND)
    x = x.masked_fill(~known, 0)
    slope = torch.ones_like(x)
    if mode == "nearest":
        return x.clamp(0, size - 1), slope.masked_fill(~inside, 0), ~known
    if "constant" in mode:
        return x, slope, ~known
    folded, back = _folded(x, size, mode)
    back = back & ~inside
    return torch.where(inside, x, folded), torch.where(back, -slope, slope), ~known


def _folded(x: Tensor, size: int, mode: str) -> tuple[Tensor, Tensor]:
    """A coordinate in the period of a mode, and whether it runs backwards there."""
    last = size - 1
    forth = torch.zeros_like(x, dtype=torch.bool)
    if mode == "grid-wrap":
        return x - size * (x / size).floor(), forth
    if size == 1:
        return torch.zeros_like(x), forth
    if mode == "wrap":  # SciPy's own: the last voxel is the first
        below = x + last * ((-x / last).floor() + 1)
        return torch.where(x < 0, below, x.remainder(last)), forth
    if mode == "mirror":
        y = x.abs().remainder(2 * last)
        # SciPy leaves (last, size) to the grid: rounding half a voxel up depends on it.
        turned = torch.where(x < 0, y > last, y >= size)
        return torch.where(turned, 2 * last - y, y), turned ^ (x < 0)
    y = (x + 0.5).remainder(2 * size)  # reflect
    turned = y > size
    return torch.where(turned, 2 * size - y, y) - 0.5, turned


def _voxel(index: Tensor, size: int, mode: str) -> Tensor:
    """The voxel of a grid point next to the grid; -1 where there is none."""
    if mode == "grid-constant":
        return index.masked_fill((index < 0) | (index >= size), -1)
    if mode == "grid-wrap":
        return index.remainder(size)
    if mode == "mirror":
        index = torch.where(index >= size, 2 * (size - 1) - index, index.abs())
    return index.clamp(0, size - 1)
