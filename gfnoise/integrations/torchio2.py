"""TorchIO 2 (its alpha): a transform of label maps, per instance of a batch."""

from typing import Any

from ._common import Noises, affine_spacing, draw_seed, missing, noisy

try:
    from torchio import LabelMap, SubjectsBatch, Transform
except ImportError as error:
    raise missing("TorchIO 2", "torchio2", error) from error

__all__ = ["GaussianFieldNoise"]

_KEYS = ["seed", "amplitude", "length_scale"]


class GaussianFieldNoise(Transform):
    """Make label maps noisy, by a Gaussian field deformation.

    Parameters
    ----------
    amplitude, length_scale : float or (low, high)
        Of the noise in mm, as in `GaussianField`: a number, or a range to draw from.
    order : {0, 1}, default 0
        0: the label of the voxel that holds the displaced point. 1: the voxels around it vote.
    mode : {"nearest", "constant"}, default "nearest"
        What lies outside the label map: the nearest voxel, or class 0.
    ignore_index : int, optional
        A label that stays exactly where it is.
    **kwargs
        TorchIO's own: `p`, `copy`, `per_instance`, `include`, `exclude`.

    Notes
    -----
    Each subject of a batch has a field of its own, which all its label maps move by; images, dtypes
    and affines stay as they are. The parameters in the history (`applied_transforms`) are plain
    numbers, and ``apply_transform(batch, params)`` gives the same noise again.

    Examples
    --------
    >>> import torch
    >>> import torchio
    >>> from gfnoise.integrations.torchio2 import GaussianFieldNoise
    >>> label = torchio.LabelMap(torch.ones(1, 16, 16, 16, dtype=torch.uint8))
    >>> noise = GaussianFieldNoise(amplitude=(1, 3), length_scale=5, mode="constant")
    >>> noise(torchio.Subject(label=label)).label.data.dtype
    torch.uint8
    """

    def __init__(
        self,
        amplitude: Any,
        length_scale: Any,
        *,
        order: int = 0,
        mode: str = "nearest",
        ignore_index: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.amplitude, self.length_scale = amplitude, length_scale
        self.order, self.mode, self.ignore_index = order, mode, ignore_index
        self._noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        )

    @property
    def supports_per_instance_params(self) -> bool:
        """Each subject of a batch has its own parameters."""
        return True

    @property
    def supports_per_instance_p(self) -> bool:
        """Each subject of a batch has noise or not."""
        return True

    def make_params(self, batch: SubjectsBatch) -> dict[str, Any]:
        """Draw seed and strengths, for each subject or for all."""
        count = self._resolve_n(batch)
        drawn = self._noises.of(3).sample_params(count or 1, seed=draw_seed())
        params = {
            key: drawn[0][key] if count is None else [one[key] for one in drawn] for key in _KEYS
        }
        self._tag_batched(params, batch, count, self._keep_mask(batch, count), _KEYS)
        return params

    def apply_transform(self, batch: SubjectsBatch, params: dict[str, Any]) -> SubjectsBatch:
        """Make each label map noisy."""
        count = batch.batch_size
        batched = self._is_per_instance_params(params)
        keep = params.get("_keep") or [True] * count
        for name, images in self._get_images(batch).items():
            if not issubclass(images._image_class, LabelMap):
                continue
            flat = images.data.shape[-1] == 1
            labels = images.data[..., 0] if flat else images.data
            noise = self._noises.of(labels.dim() - 2)
            rows = [
                {
                    "applied": keep[i],
                    "spacing": affine_spacing(images.affines[i].data.tolist()[:3], noise.ndim),
                    **{key: params[key][i] if batched else params[key] for key in _KEYS},
                }
                for i in range(count)
            ]
            made = noisy(labels, repr(name), noise, rows)
            images.data = made[..., None] if flat else made
        return batch
