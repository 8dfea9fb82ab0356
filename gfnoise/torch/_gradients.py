"""The gradients of the filter and of the interpolation, as torch's own operations."""

import math
from typing import Any, NamedTuple

import torch

from .._axes import along_axes, lead_and_space
from .._shared.modes import BEYOND
from .._shared.taps import sampled, weights

Tensor = torch.Tensor
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
    ctx.along = along_axes(
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
    alike = [one for one in ctx.along if one.mode not in ("mirror", "nearest")]
    grad = _filtered(grad, alike)
    for axis, sigma, radius, mode in ctx.along:
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
    axes, count = coordinates.shape[0], coordinates.shape[1:].numel()
    lead, space = lead_and_space(source.shape, axes)
    images = source.to(grad.dtype).reshape(math.prod(lead), *space)
    if ctx.mode == "grid-constant":  # whose outside is a margin like any voxels
        images = torch.nn.functional.pad(images, [1] * (2 * axes), value=ctx.cval)
    terms, lost = _terms(coordinates.reshape(axes, count), space, ctx.order, ctx.mode, grad.dtype)
    spread = grad.reshape(math.prod(lead), count).masked_fill(lost, 0)
    start = torch.zeros_like(lost, dtype=torch.int64)

    to_source = to_points = None
    if ctx.needs_input_grad[0]:
        filled = torch.zeros_like(images).flatten(1)
        _scatter(filled, spread, start, terms)
        to_source = filled.reshape(images.shape)
        if ctx.mode == "grid-constant":
            to_source = to_source[(slice(None), *[slice(1, -1)] * axes)]
        to_source = to_source.reshape(source.shape).to(source.dtype)
    if ctx.needs_input_grad[1] and ctx.order == 0:
        to_points = torch.zeros_like(coordinates)
    elif ctx.needs_input_grad[1]:
        _, slopes = _slopes(images.flatten(1), spread, start, terms)
        slopes = [
            (slope if one.slope is None else slope * one.slope).masked_fill(lost, 0)
            for slope, one in zip(slopes, terms, strict=True)
        ]
        to_points = torch.stack(slopes).reshape(coordinates.shape).to(coordinates.dtype)
    return to_source, to_points, *[None] * 4


class _Term(NamedTuple):
    """Along one axis: what the voxels around each point add to a flat index, and their weights.

    The weight of the second of two voxels is `share`, that of the first the rest; of one, both are
    None. `slope` is by how much a coordinate moves the point: None is 1.
    """

    steps: tuple[Tensor, ...]
    share: Tensor | None
    slope: Tensor | None


def _scatter(filled: Tensor, spread: Tensor, flat: Tensor, terms: list[_Term]) -> None:
    """Add to the corners of each point, depth first, which holds few of them at a time."""
    if not terms:
        filled.index_add_(1, flat, spread)
        return
    (steps, share, _), *rest = terms
    parts = [spread] if share is None else [spread * (1 - share), spread * share]
    for step, part in zip(steps, parts, strict=True):
        _scatter(filled, part, flat + step, rest)


def _slopes(
    images: Tensor, spread: Tensor, flat: Tensor, terms: list[_Term]
) -> tuple[Tensor, list[Tensor]]:
    """The values between the corners, times the gradient, and their slopes along each axis."""
    if not terms:
        return (images.index_select(1, flat) * spread).sum(0), []
    (steps, share, _), *rest = terms
    assert share is not None  # of linear interpolation
    (low, lows), (high, highs) = (_slopes(images, spread, flat + step, rest) for step in steps)
    across = [torch.lerp(one, other, share) for one, other in zip(lows, highs, strict=True)]
    return torch.lerp(low, high, share), [high - low, *across]


def _terms(
    points: Tensor, space: tuple[int, ...], order: int, mode: str, dtype: torch.dtype
) -> tuple[list[_Term], Tensor]:
    """The terms of each axis, and the lost points. Coordinates are float64, as in the kernels."""
    terms = []
    lost = torch.zeros_like(points[0], dtype=torch.bool)
    margin = 1 if mode == "grid-constant" else 0
    sizes = [size + 2 * margin for size in space]
    for axis, (coordinate, size) in enumerate(zip(points, space, strict=True)):
        stride = math.prod(sizes[axis + 1 :])
        folded, slope, gone = _fold(coordinate.double(), size, mode)
        lost = lost | gone
        if order == 0:
            nearest = _voxel((folded + 0.5).floor().long(), size, mode) * stride
            terms.append(_Term((nearest,), None, None))
            continue
        low = folded.floor()
        if mode in _ENDING:  # at the last voxel, the slope is that before it
            low = low.clamp(max=max(size - 2, 0))
        share, low = (folded - low).to(dtype), low.long()
        both = _voxel(low, size, mode) * stride, _voxel(low + 1, size, mode) * stride
        terms.append(_Term(both, share, None if slope is None else slope.to(dtype)))
    return terms, lost


def _fold(x: Tensor, size: int, mode: str) -> tuple[Tensor, Tensor | None, Tensor]:
    """A coordinate as the kernels map it, the slope of that if not 1, and whether it is lost."""
    inside = (x >= 0) & (x <= size - 1)
    if mode == "constant":
        known = inside
    elif mode == "grid-constant":
        known = (x >= -1) & (x <= size)
    elif mode == "nearest":
        known = ~x.isnan()
    else:
        known = inside | (x.abs() <= BEYOND)
    lost = ~known
    x = x.masked_fill(lost, 0)
    if mode == "nearest":
        return x.clamp(0, size - 1), inside, lost
    if "constant" in mode:
        return x, None, lost
    folded, back = _folded(x, size, mode)
    slope = 1 - 2 * (back & ~inside).to(torch.int8)
    return torch.where(inside, x, folded), slope, lost


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
    """The voxel of a grid point next to the grid; of a grid with a margin, or the margin's."""
    if mode == "grid-constant":
        return index.clamp(-1, size) + 1
    if mode == "grid-wrap":
        return index.remainder(size)
    if mode == "mirror":
        index = torch.where(index >= size, 2 * (size - 1) - index, index.abs())
    return index.clamp(0, size - 1)
