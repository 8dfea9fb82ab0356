"""TorchIO 1: a random transform of label maps, and the deterministic one behind it."""

from typing import Any

from .. import _checks
from ._labels import Noises, draw_seed, missing, noisy

try:
    from torchio.transforms.augmentation import RandomTransform
    from torchio.transforms.preprocessing.label.label_transform import LabelTransform
except ImportError as error:
    raise missing("TorchIO 1 (for 2, gfnoise.integrations.torchio2)", "torchio", error) from error

__all__ = ["GaussianFieldNoise", "RandomGaussianFieldNoise"]


class RandomGaussianFieldNoise(RandomTransform, LabelTransform):
    """Make label maps noisy, by a random Gaussian field deformation.

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
        TorchIO's own: `p`, `include`, `exclude`, `keep`, `copy`, ...

    Notes
    -----
    All label maps of a subject move by the same field; images stay as they are, and so do dtypes
    and affines. The voxel size is the label map's. Everything random follows from a seed that is
    drawn from torch's generator, and is in the subject's history:
    ``subject.get_composed_history()`` gives the same noise again.

    Examples
    --------
    >>> import torch
    >>> import torchio
    >>> from gfnoise.integrations.torchio import RandomGaussianFieldNoise
    >>> label = torchio.LabelMap(tensor=torch.ones(1, 16, 16, 16, dtype=torch.uint8))
    >>> noise = RandomGaussianFieldNoise(amplitude=(1, 3), length_scale=5, mode="constant")
    >>> subject = noise(torchio.Subject(label=label))
    >>> subject.label.data.dtype, subject.history[0].name
    (torch.uint8, 'GaussianFieldNoise')
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
        self._noise = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        ).of(3)

    def apply_transform(self, subject: Any) -> Any:
        """Draw parameters, and apply the deterministic transform."""
        (drawn,) = self._noise.sample_params(1, seed=[draw_seed()])
        return GaussianFieldNoise(
            amplitude=drawn["amplitude"],
            length_scale=drawn["length_scale"],
            seed=drawn["seed"],
            order=self.order,
            mode=self.mode,
            ignore_index=self.ignore_index,
            **self._get_base_args(),
        )(subject)


class GaussianFieldNoise(LabelTransform):
    """Make label maps noisy, by the Gaussian field deformation of a seed.

    Parameters
    ----------
    amplitude, length_scale : float
        Of the noise in mm, as in `GaussianField`.
    seed : int
        In [0, 2**63).
    order, mode, ignore_index, **kwargs
        As in `RandomGaussianFieldNoise`.

    Examples
    --------
    >>> import torch
    >>> import torchio
    >>> from gfnoise.integrations.torchio import GaussianFieldNoise
    >>> label = torchio.LabelMap(tensor=torch.ones(1, 16, 16, 16))
    >>> noisy = GaussianFieldNoise(amplitude=2, length_scale=5, seed=1, mode="constant")(label)
    >>> noisy.data.dtype, noisy.data.unique().tolist()
    (torch.float32, [0.0, 1.0])
    """

    def __init__(
        self,
        amplitude: float,
        length_scale: float,
        seed: int,
        *,
        order: int = 0,
        mode: str = "nearest",
        ignore_index: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.amplitude, self.length_scale = amplitude, length_scale
        self.seed = _checks.integer("seed", seed, 0)
        self.order, self.mode, self.ignore_index = order, mode, ignore_index
        self.args_names = [
            "amplitude",
            "length_scale",
            "seed",
            "order",
            "mode",
            "ignore_index",
        ]
        self._noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        )

    def apply_transform(self, subject: Any) -> Any:
        """Make each label map noisy."""
        for name, image in self.get_images_dict(subject).items():
            flat = image.is_2d()
            labels = image.data[..., 0] if flat else image.data
            noise = self._noises.of(labels.dim() - 1)
            spacing = image.spacing[: noise.ndim]
            params = noise.sample_params(1, spacing=spacing, seed=[self.seed])
            made = noisy(labels, repr(name), noise, params)
            image.set_data(made[..., None] if flat else made)
        return subject
