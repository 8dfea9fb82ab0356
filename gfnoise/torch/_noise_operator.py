"""`LabelNoise` as an operator, for graphs that are compiled or exported."""

from functools import lru_cache

from torch import Tensor

from . import _library, _operators
from .noise import LabelNoise


@_library.define(
    "label_noise(Tensor labels, Tensor seed, float[] amplitude, float[] length_scale, "
    "float[] spacing, int ndim, float p, int order, str mode, int? ignore_index) -> Tensor",
    lambda labels, *rest: labels.new_empty(labels.shape),
)
def _label_noise(
    labels: Tensor,
    seed: Tensor,
    amplitude: list[float],
    length_scale: list[float],
    spacing: list[float],
    ndim: int,
    p: float,
    order: int,
    mode: str,
    ignore_index: int | None,
) -> Tensor:
    settings = tuple(amplitude), tuple(length_scale), tuple(spacing), ndim, p
    noise = _made(*settings, order, mode, ignore_index)
    if seed.is_cuda and not seed.dim():
        seed = seed.cpu()
    noisy: Tensor = noise(labels, seed=seed)
    return noisy


@lru_cache(maxsize=64)
def _made(
    amplitude: tuple[float, ...],
    length_scale: tuple[float, ...],
    spacing: tuple[float, ...],
    ndim: int,
    p: float,
    order: int,
    mode: str,
    ignore_index: int | None,
) -> LabelNoise:
    """The module of an operator's arguments."""
    return LabelNoise(
        amplitude,
        length_scale,
        ndim=ndim,
        spacing=_operators.rows(spacing, ndim) if spacing else "unit",
        p=p,
        order=order,
        mode=mode,
        ignore_index=ignore_index,
    )
