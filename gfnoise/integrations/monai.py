"""MONAI: transforms of arrays and of dictionaries."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .. import _checks
from .._decisions import METRICS
from ..field import GaussianField
from ..thresholding import optimal_segmentation
from ._common import Noises, affine_spacing, integers, join_seed, missing, noisy_item

try:
    from monai.data import MetaTensor, get_track_meta
    from monai.data.utils import is_no_channel
    from monai.transforms import MapTransform, RandomizableTransform, Transform
    from monai.utils import (
        MAX_SEED,
        MetaKeys,
        TransformBackends,
        convert_to_tensor,
        ensure_tuple_rep,
    )
except ImportError as error:
    raise missing("MONAI", "monai", error) from error

__all__ = [
    "GaussianFieldMarginals",
    "GaussianFieldMarginalsD",
    "GaussianFieldMarginalsDict",
    "GaussianFieldMarginalsd",
    "OptimalSegmentation",
    "OptimalSegmentationD",
    "OptimalSegmentationDict",
    "OptimalSegmentationd",
    "RandGaussianFieldNoise",
    "RandGaussianFieldNoiseD",
    "RandGaussianFieldNoiseDict",
    "RandGaussianFieldNoised",
]

_PIXDIM = "pixdim"
_SHAPE, _CHANNEL = MetaKeys.SPATIAL_SHAPE, MetaKeys.ORIGINAL_CHANNEL_DIM
_BACKEND = [TransformBackends.TORCH]


class RandGaussianFieldNoise(RandomizableTransform):
    """Make a label noisy, by a Gaussian field deformation.

    Parameters
    ----------
    amplitude, length_scale : float or (low, high)
        Of the noise, as in `GaussianField`: a number, or a range to draw from, in mm.
    prob : float, default 0.1
        The probability of noise.
    mode : {"nearest", "constant"}
        What lies outside the label: the nearest voxel, or class 0.
    order : {0, 1}, default 0
        0: the label of the voxel that holds the displaced point. 1: the voxels around it vote.
    spacing : "pixdim", float, sequence of float or "unit", default "pixdim"
        Voxel size: the MetaTensor's own, or a given one; 1.0 for lengths in voxels.
    ignore_index : int, optional
        A label that stays exactly where it is.

    Notes
    -----
    Labels are channel-first, (C, *space), integer-coded, with 2 or 3 axes of space; all channels
    move by the same field. What the metadata say to be as in its file, without channels or with
    channels last, is refused: use EnsureChannelFirst before. Without metadata, three axes are
    channels of 2D. Dtype, affine and the rest of the metadata are kept. Labels that were read as
    floats, as LoadImage does, are taken if they are whole numbers; `gfnoise.torch.LabelNoise`
    itself takes integers alone. What is random follows from MONAI's `R`: `prob` takes one draw and
    the seed, of 63 bits, two.

    Examples
    --------
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from gfnoise.integrations.monai import RandGaussianFieldNoise
    >>> label = MetaTensor(torch.ones(1, 16, 16, 16, dtype=torch.uint8))
    >>> noise = RandGaussianFieldNoise(amplitude=2, length_scale=5, prob=1, mode="constant")
    >>> noisy = noise.set_random_state(0)(label)
    >>> noisy.dtype, noisy.unique().tolist()
    (torch.uint8, [0, 1])
    """

    backend = _BACKEND

    def __init__(
        self,
        amplitude: Any,
        length_scale: Any,
        *,
        prob: float = 0.1,
        mode: str = "nearest",
        order: int = 0,
        spacing: Any = _PIXDIM,
        ignore_index: int | None = None,
    ):
        RandomizableTransform.__init__(self, _checks.share("prob", prob))
        self._noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        )
        self.spacing = spacing
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether there is noise, and its seed, which is drawn in any case."""
        super().randomize(None)
        self._seed = join_seed(*(self.R.randint(MAX_SEED, dtype="uint32") for _ in range(2)))

    def __call__(self, img: Any, randomize: bool = True) -> Tensor:
        """Make a label (C, *space) noisy."""
        given, img = img, convert_to_tensor(img, track_meta=get_track_meta())
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        labels = _plain(img)
        noise = self._noises.of(_space(given))
        spacing = _spacing(given, self.spacing, noise.ndim)
        params = noise.sample_params(1, spacing=spacing, seed=[self._seed])
        return _like(noisy_item(labels, "img", noise, params), img)


class GaussianFieldMarginals(Transform):
    """The probability of foreground, or of each class, under the noise: a soft label.

    Parameters
    ----------
    amplitude : float
        Of the noise, in mm.
    num_classes : int, optional
        Of a label (1, *space): the result has a channel per class, which sum to 1. Without it,
        labels are in {0, 1} and the result has their channels.
    mode : {"nearest", "constant"}
        What lies outside the label: the nearest voxel, or class 0.
    spacing : "pixdim", float, sequence of float or "unit", default "pixdim"
        Voxel size: the MetaTensor's own, or a given one; 1.0 for lengths in voxels.
    ignore_index : int, optional
        A label whose voxels have no marginal: every channel is 0 there.

    Examples
    --------
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from gfnoise.integrations.monai import GaussianFieldMarginals
    >>> label = MetaTensor(torch.ones(1, 16, 16, 16, dtype=torch.uint8))
    >>> GaussianFieldMarginals(amplitude=2.0, num_classes=3)(label).shape
    torch.Size([3, 16, 16, 16])
    """

    backend = _BACKEND

    def __init__(
        self,
        amplitude: float,
        *,
        num_classes: int | None = None,
        mode: str = "nearest",
        spacing: Any = _PIXDIM,
        ignore_index: int | None = None,
    ):
        GaussianField(amplitude, 1.0, ndim=3)
        self.amplitude, self.spacing = amplitude, spacing
        self._options = {"num_classes": num_classes, "mode": mode, "ignore_index": ignore_index}

    def __call__(self, img: Any) -> Tensor:
        """Compute the marginals of a label (C, *space)."""
        given, img = img, convert_to_tensor(img, track_meta=get_track_meta())
        labels = _plain(img)
        ndim = _space(given)
        spacing = _spacing(given, self.spacing, ndim)
        field: Any = GaussianField(self.amplitude, 1.0, spacing=spacing, ndim=ndim)
        labels = integers(labels, "img")
        if self._options["num_classes"] is not None:
            if len(labels) != 1:
                raise ValueError(
                    f"img must have one channel of classes where num_classes is given, got shape "
                    f"{tuple(labels.shape)}"
                )
            labels = labels[0]
        return _like(field.marginals(labels, **self._options), img)


class OptimalSegmentation(Transform):
    """The mask that scores best against probabilities: to post-process a network's output.

    Parameters
    ----------
    metric : {"dice", "iou", "fbeta", "accuracy", "volume"}
        What it shall be best at, as in `gfnoise.optimal_segmentation`.
    beta : float, default 1.0
        Weight of recall in "fbeta".
    volume : float, optional
        For "volume": the share of the voxels.

    Notes
    -----
    Each channel of (C, *space) is a map of probabilities in [0, 1], with a threshold of its own.
    The mask is of the map's dtype, as `AsDiscrete` gives it.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.integrations.monai import OptimalSegmentation
    >>> OptimalSegmentation("dice")(torch.tensor([[[1.0, 0.5, 0.45, 0.0]]]))
    metatensor([[[1., 1., 1., 0.]]])
    """

    backend = _BACKEND

    def __init__(self, metric: str = "dice", *, beta: float = 1.0, volume: float | None = None):
        _checks.choice("metric", metric, METRICS)
        self._options = {"metric": metric, "beta": beta, "volume": volume}

    def __call__(self, img: Any) -> Tensor:
        """Make masks of probabilities (C, *space)."""
        given, img = img, convert_to_tensor(img, track_meta=get_track_meta())
        maps = _plain(img)
        decide: Any = optimal_segmentation  # it takes tensors as well, unknown to its types
        mask = decide(maps, ndim=_space(given), **self._options)
        return _like(mask.to(maps.dtype), img)


class _Dict(MapTransform):
    """A transform applied to keys of a dict; `output_keys` let the originals survive."""

    def __init__(self, keys: Any, one: Any, output_keys: Any, allow_missing_keys: bool):
        MapTransform.__init__(self, keys, allow_missing_keys)
        self._one = one
        self.output_keys = (
            self.keys if output_keys is None else ensure_tuple_rep(output_keys, len(self.keys))
        )
        if len(set(self.output_keys)) < len(self.keys):
            raise ValueError(
                f"output_keys must be one for each of keys {self.keys}, got {self.output_keys}"
            )

    def _change(self, data: Mapping[Hashable, Any], **options: Any) -> dict[Hashable, Any]:
        changed = dict(data)
        for key, output_key in self.key_iterator(changed, self.output_keys):
            changed[output_key] = self._one(data[key], **options)
        return changed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return self._change(data)


class RandGaussianFieldNoised(RandomizableTransform, _Dict):
    """`RandGaussianFieldNoise` for keys of a dict, which all move by the same field.

    Parameters
    ----------
    keys : hashable or sequence of hashable
        The labels' keys, of one grid.
    amplitude, length_scale, prob, mode, order, spacing, ignore_index
        As in `RandGaussianFieldNoise`.
    output_keys : hashable or sequence of hashable, optional
        Where the noisy labels go, one for each of `keys`; the clean ones then stay.
    allow_missing_keys : bool, default False
        Whether keys may be missing.

    Examples
    --------
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from gfnoise.integrations.monai import RandGaussianFieldNoised
    >>> label = MetaTensor(torch.eye(16, dtype=torch.uint8)[None])
    >>> noise = RandGaussianFieldNoised("label", 2, 5, prob=1, output_keys="noisy")
    >>> sorted(noise({"label": label}))
    ['label', 'noisy']
    """

    backend = RandGaussianFieldNoise.backend

    def __init__(
        self,
        keys: Any,
        amplitude: Any,
        length_scale: Any,
        *,
        prob: float = 0.1,
        mode: str = "nearest",
        order: int = 0,
        spacing: Any = _PIXDIM,
        ignore_index: int | None = None,
        output_keys: Any = None,
        allow_missing_keys: bool = False,
    ):
        one = RandGaussianFieldNoise(
            amplitude,
            length_scale,
            prob=1.0,
            mode=mode,
            order=order,
            spacing=spacing,
            ignore_index=ignore_index,
        )
        _Dict.__init__(self, keys, one, output_keys, allow_missing_keys)
        RandomizableTransform.__init__(self, _checks.share("prob", prob))

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandGaussianFieldNoised":
        """Seed the draws."""
        super().set_random_state(seed, state)
        self._one.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make the labels of a dict noisy."""
        self.randomize(None)
        self._one.randomize()
        if self._do_transform:
            return self._change(data, randomize=False)
        changed = dict(data)
        for key, output_key in self.key_iterator(changed, self.output_keys):
            changed[output_key] = convert_to_tensor(data[key], track_meta=get_track_meta())
        return changed


class GaussianFieldMarginalsd(_Dict):
    """`GaussianFieldMarginals` for keys of a dict.

    Parameters
    ----------
    keys : hashable or sequence of hashable
        The labels' keys.
    amplitude, num_classes, mode, spacing, ignore_index
        As in `GaussianFieldMarginals`.
    output_keys, allow_missing_keys
        As in `RandGaussianFieldNoised`.

    Examples
    --------
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from gfnoise.integrations.monai import GaussianFieldMarginalsd
    >>> label = MetaTensor(torch.eye(16, dtype=torch.uint8)[None])
    >>> soft = GaussianFieldMarginalsd("label", 2.0, output_keys="soft")({"label": label})
    >>> soft["soft"].dtype
    torch.float32
    """

    backend = GaussianFieldMarginals.backend

    def __init__(
        self,
        keys: Any,
        amplitude: float,
        *,
        num_classes: int | None = None,
        mode: str = "nearest",
        spacing: Any = _PIXDIM,
        ignore_index: int | None = None,
        output_keys: Any = None,
        allow_missing_keys: bool = False,
    ):
        one = GaussianFieldMarginals(
            amplitude,
            num_classes=num_classes,
            mode=mode,
            spacing=spacing,
            ignore_index=ignore_index,
        )
        super().__init__(keys, one, output_keys, allow_missing_keys)


class OptimalSegmentationd(_Dict):
    """`OptimalSegmentation` for keys of a dict.

    Parameters
    ----------
    keys : hashable or sequence of hashable
        The keys of the probabilities.
    metric, beta, volume
        As in `OptimalSegmentation`.
    output_keys, allow_missing_keys
        As in `RandGaussianFieldNoised`.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.integrations.monai import OptimalSegmentationd
    >>> maps = {"pred": torch.tensor([[[1.0, 0.5, 0.45, 0.0]]])}
    >>> OptimalSegmentationd("pred")(maps)["pred"].sum().item()
    3.0
    """

    backend = OptimalSegmentation.backend

    def __init__(
        self,
        keys: Any,
        metric: str = "dice",
        *,
        beta: float = 1.0,
        volume: float | None = None,
        output_keys: Any = None,
        allow_missing_keys: bool = False,
    ):
        one = OptimalSegmentation(metric, beta=beta, volume=volume)
        super().__init__(keys, one, output_keys, allow_missing_keys)


RandGaussianFieldNoiseD = RandGaussianFieldNoiseDict = RandGaussianFieldNoised
GaussianFieldMarginalsD = GaussianFieldMarginalsDict = GaussianFieldMarginalsd
OptimalSegmentationD = OptimalSegmentationDict = OptimalSegmentationd


def _space(img: Any) -> int:
    """The number of axes of space of a channel-first image."""
    shape = [int(size) for size in np.shape(img)]
    if len(shape) not in (3, 4) or not _channel_first(shape, getattr(img, "meta", {})):
        raise ValueError(
            f"img must be of shape (C, *space), 2D or 3D, got {tuple(shape)}: use "
            f"EnsureChannelFirst before (with channel_dim=0 if the first axis is the channels)"
        )
    return len(shape) - 1


def _channel_first(shape: list[int], meta: Mapping[str, Any]) -> bool:
    """Whether nothing in the metadata says that the image is still as it was in its file.

    They do not change when an image does, but `EnsureChannelFirst` notes the axis it is given.
    """
    if not {_SHAPE, _CHANNEL} <= meta.keys():
        return True
    space, channel = np.asarray(meta[_SHAPE]).tolist(), meta[_CHANNEL]
    if shape == space and len(shape) == 3 and shape[0] > 1:
        return not is_no_channel(channel)
    if shape[:-1] == space != shape[1:]:
        return is_no_channel(channel) or int(channel) not in (-1, len(shape) - 1)
    return True


def _spacing(img: Any, spacing: Any, ndim: int) -> Any:
    """The voxel size that is asked for."""
    if not (isinstance(spacing, str) and spacing == _PIXDIM):
        return spacing
    if not isinstance(img, MetaTensor):
        raise ValueError(
            f"img must be a MetaTensor, which has a pixdim, got {type(img).__name__}: give "
            f"spacing (1.0 for lengths in voxels)"
        )
    affine = img.meta.get("affine")  # the property makes an identity in any case
    rows = (img.affine if affine is None else affine).tolist()
    # As `pixdim` does: MONAI before 1.6 knows no other number of axes than 3, and 0 stands for 1.
    rows = rows[: getattr(img, "spatial_ndim", 3)]
    return tuple(size or 1.0 for size in affine_spacing(rows, ndim))


def _plain(img: Tensor) -> Tensor:
    """The tensor without its metadata, on the same memory."""
    return img.as_tensor() if isinstance(img, MetaTensor) else img


def _like(result: Tensor, img: Tensor) -> Tensor:
    """The result with the metadata of the image."""
    if not isinstance(img, MetaTensor):
        return result
    made: Tensor = result.as_subclass(MetaTensor).copy_meta_from(img)  # all that MONAI sets
    return made
