"""What `LabelNoise` does to a batch once it is known what is random about its items."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import _array, _checks
from .._sampling import noisy_labels
from ..field import GaussianField
from . import _library, _operators, _strengths, _tensors, item_seeds

if TYPE_CHECKING:
    from .noise import LabelNoise

Params = list[dict[str, Any]]
KEYS = ("seed", "applied", "amplitude", "length_scale", "spacing")
_OUTSIDE = {"constant": "grid-constant", "nearest": "nearest"}  # in the terms of map_coordinates


def checked(params: Any, count: int, ndim: int) -> Params:
    """Parameters that may have been through JSON, as `sample_params` draws them."""
    given = params if isinstance(params, (list, tuple)) else []
    complete = all(isinstance(one, Mapping) and not set(KEYS) - set(one) for one in given)
    if len(given) != count or not complete:
        raise ValueError(
            f"params must hold {', '.join(KEYS)} for each of {count} items, got {params!r:.200}"
        )
    units = [isinstance(one["spacing"], str) and one["spacing"] == "unit" for one in given]
    if any(units) and not all(units):
        raise ValueError(f"params must hold the spacing 'unit' for all items or none, got {units}")
    return [_plain(one, f"params[{i}]", ndim) for i, one in enumerate(given)]


def _plain(one: Mapping[str, Any], name: str, ndim: int) -> dict[str, Any]:
    """The parameters of an item, of floats."""
    spacing = one["spacing"]
    if not isinstance(spacing, str) or spacing != "unit":
        own = f"{name}['spacing']"
        spacing = [*_checks.strengths(own, spacing, ndim, zero=False, per_item=False)]
    return {
        **one,
        "seed": item_seeds.seed_of(f"{name}['seed']", one["seed"]),
        "amplitude": _checks.number(f"{name}['amplitude']", one["amplitude"], 0.0),
        "length_scale": _checks.positive(f"{name}['length_scale']", one["length_scale"]),
        "spacing": spacing,
    }


def apply(noise: "LabelNoise", tensor: Tensor, params: Params) -> Tensor:
    """Move labels or, of a floating dtype, an image."""
    return (to_image if tensor.is_floating_point() else to_labels)(noise, tensor, params)


def to_labels(noise: "LabelNoise", labels: Tensor, params: Params) -> Tensor:
    """Move labels (B, C, *space) or (B, *space) by the fields of their items."""
    applied = [i for i, one in enumerate(params) if one["applied"]]
    if not applied:
        return _copied(labels)
    if len(applied) < len(params) and labels.is_cuda:
        # Without a choice of items, whose indices the host would wait to see copied.
        params = [one if one["applied"] else {**one, "amplitude": 0.0} for one in params]
    elif len(applied) < len(params):
        noisy = _copied(labels)
        changed = to_labels(noise, labels[applied], [params[i] for i in applied])
        for i, one in zip(applied, changed, strict=True):  # torch puts no uint16 by indices
            noisy[i] = one
        return noisy
    copies = _copies(noise, labels)
    seeds, options = [one["seed"] for one in params for _ in range(copies)], _options(noise)
    bounded = _bounded(noise, labels, params)
    if bounded is not None:
        bounds, each = bounded
        strengths = [one for one in each for _ in range(copies)]
        return _sample(bounds, labels, seed=seeds, strengths=strengths, **options)
    field: Any = field_of(params, noise.ndim, copies)
    if labels.device.type == "cpu" and not _tensors.is_traced(labels):
        # An array needs no door: a fifth of the overhead.
        array = _tensors.view("labels", labels)
        return torch.from_numpy(noisy_labels(field, array, seed=seeds, **options))
    moved: Tensor = field.sample_labels(labels, seed=seeds, **options)
    return moved


def to_labels_on_device(noise: "LabelNoise", labels: Tensor, seed: Tensor, spacing: Any) -> Tensor:
    """Move labels by the fields of seeds on their device, which the host never reads."""
    field = GaussianField(
        noise.amplitude[1], noise.length_scale[0], spacing=spacing, ndim=noise.ndim
    )
    copies = _copies(noise, labels)
    chance, *shares = item_seeds.uniforms_on_device(seed, 3)
    strengths = None
    if _varies(noise):
        ranges, space = (noise.amplitude, noise.length_scale), labels.shape[-noise.ndim :]
        strengths = _strengths.drawn(ranges, shares, spacing, space).repeat_interleave(copies, 0)
    seeds, options = seed.repeat_interleave(copies), _options(noise)
    noisy: Tensor = _sample(field, labels, seed=seeds, strengths=strengths, **options)
    if noise.p == 1:
        return noisy
    applied = (chance < noise.p).reshape(-1, *[1] * (labels.dim() - 1))
    return torch.where(applied, noisy, labels).contiguous()


def to_image(noise: "LabelNoise", image: Tensor, params: Params) -> Tensor:
    """Move an image (B, C, *space), interpolated linearly, by the fields of its items."""
    items = []
    for one, own in zip(image, params, strict=True):
        if not own["applied"]:
            items.append(one)
            continue
        space = image.shape[image.dim() - noise.ndim :]
        move: Any = field_of([own], noise.ndim).displacement(
            space, seed=[own["seed"]], like=one.detach()
        )
        grid = torch.meshgrid(
            *(torch.arange(n, dtype=move.dtype, device=move.device) for n in space),
            indexing="ij",
        )
        wide = one if one.dtype in (torch.float32, torch.float64) else one.float()
        moved = _library.core.map_coordinates(
            wide, move[0] + torch.stack(grid), mode=_OUTSIDE[noise.mode]
        )
        items.append(moved.to(image.dtype))
    return torch.stack(items) if items else image.clone()


def field_of(params: Params, ndim: int, copies: int = 1) -> GaussianField:
    """The noise model of the items, each `copies` times."""
    amplitude, length_scale, spacing = (
        _per_item([one[name] for one in params], copies, ndim) for name in KEYS[2:]
    )
    return _operators.field(amplitude, length_scale, spacing, ndim)


def _per_item(values: list[Any], copies: int, ndim: int) -> tuple[float, ...]:
    """A parameter as `_operators.field` takes it: for all items, where they agree, or for each."""
    if values.count(values[0]) == len(values):
        values, copies = values[:1], 1
    rows = ([one] * ndim if isinstance(one, float) else one for one in values)
    return tuple(number for row in rows if row != "unit" for _ in range(copies) for number in row)


def _varies(noise: "LabelNoise") -> bool:
    """Whether items have strengths of their own."""
    return any(low < high for low, high in (noise.amplitude, noise.length_scale))


def _options(noise: "LabelNoise") -> dict[str, Any]:
    """What the core is told beside the field and the seeds."""
    return {"order": noise.order, "mode": noise.mode, "ignore_index": noise.ignore_index}


def _copies(noise: "LabelNoise", labels: Tensor) -> int:
    """How many label maps share the field of an item."""
    return labels.shape[1] if labels.dim() == noise.ndim + 2 else 1


def _copied(labels: Tensor) -> Tensor:
    """A copy that lies in memory as noisy labels do, and as their operator says."""
    return labels.clone(memory_format=torch.contiguous_format)


def _bounded(noise: "LabelNoise", labels: Tensor, params: Params) -> Any:
    """The field of the noise's ranges and the items' strengths, which a device takes; or None.

    None where they are the same at every call, or not within the ranges.
    """
    if not labels.is_cuda or _tensors.is_traced(labels) or not (_varies(noise) or noise.p < 1):
        return None
    ranges, space = (noise.amplitude, noise.length_scale), labels.shape[-noise.ndim :]
    return _strengths.within(params, *ranges, noise.ndim, space)


@_array.any_library("labels", "seed", "strengths")
def _sample(field: GaussianField, labels: Any, *, seed: Any, strengths: Any, **options: Any) -> Any:
    """`sample_labels` with strengths within the bounds that are the field's own."""
    return noisy_labels(field, labels, seed=seed, strengths=strengths, **options)
