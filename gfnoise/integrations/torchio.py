"""TorchIO 1: a random transform of label maps, and the deterministic one behind it."""

from typing import Any

from .. import _checks
from ._common import Noises, affine_spacing, draw_seed, missing, noisy_item

try:
    from torchio.transforms.augmentation import RandomTransform
    from torchio.transforms.preprocessing.label.label_transform import LabelTransform
except ImportError as error:
    raise missing("TorchIO 1 (for 2, gfnoise.integrations.torchio2)", "torchio", error) from error

__all__ = ["GaussianFieldNoise", "RandomGaussianFieldNoise"]

_DRAWN = ("amplitude", "length_scale", "seed")


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
        self._noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        )

    def apply_transform(self, subject: Any) -> Any:
        """Draw parameters, and apply the deterministic transform."""
        (drawn,) = self._noises.of(3).sample_params(1, seed=[draw_seed()])
        return GaussianFieldNoise._of(self._noises, drawn, self._get_base_args())(subject)


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
        noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            order=order,
            mode=mode,
            ignore_index=ignore_index,
        )
        (drawn,) = noises.of(3).sample_params(1, seed=[_checks.integer("seed", seed, 0)])
        self._take(noises, drawn)

    @classmethod
    def _of(
        cls, noises: Noises, drawn: dict[str, Any], base: dict[str, Any]
    ) -> "GaussianFieldNoise":
        """The transform of settings that were checked before."""
        made = cls.__new__(cls)
        LabelTransform.__init__(made, **base)
        made._take(noises, drawn)
        return made

    def _take(self, noises: Noises, drawn: dict[str, Any]) -> None:
        """Keep what is applied, and as attributes what TorchIO's history tells of it."""
        self._noises, self._drawn = noises, drawn
        self.__dict__.update(noises.settings | {name: drawn[name] for name in _DRAWN})
        self.args_names = [*_DRAWN, "order", "mode", "ignore_index"]

    def apply_transform(self, subject: Any) -> Any:
        """Make each label map noisy."""
        for name, image in self.get_images_dict(subject).items():
            data = image.data
            flat = data.shape[-1] == 1
            labels = data[..., 0] if flat else data
            noise = self._noises.of(labels.dim() - 1)
            spacing = affine_spacing(image.affine.tolist()[:3], noise.ndim)
            made = noisy_item(labels, repr(name), noise, [{**self._drawn, "spacing": spacing}])
            image.set_data(made[..., None] if flat else made)
        return subject
