"""nnU-Net v2: a transform of batchgeneratorsv2's pipeline, and where it belongs in it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._common import Noises, draw_seed, missing

try:
    from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, SegOnlyTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
except ImportError as error:
    raise missing("batchgeneratorsv2, which nnU-Net brings", "nnunet", error) from error

__all__ = ["GaussianFieldNoiseTransform", "insert_noise"]


class GaussianFieldNoiseTransform(SegOnlyTransform):
    """Make the segmentation noisy, by a Gaussian field deformation.

    Parameters
    ----------
    amplitude, length_scale : float or (low, high)
        Of the noise, as in `GaussianField`: a number, or a range to draw from.
    spacing : float or sequence of float, default 1.0
        Voxel size of the patches, which nnU-Net resamples all cases to
        (``configuration_manager.spacing``), in the unit of `amplitude` and `length_scale`.
    p : float, default 1.0
        The probability of noise.
    order : {0, 1}, default 0
        0: the label of the voxel that holds the displaced point. 1: the voxels around it vote.
    mode : {"nearest", "constant"}, default "nearest"
        What lies outside the patch: the nearest voxel, or background.
    ignore_label : int, optional
        A label that stays exactly where it is.

    Notes
    -----
    Of a segmentation (C, X, Y) or (C, X, Y, Z), channel 0 alone is changed: the others are a
    cascade's input. It belongs after the removal of label -1, and before the conversion to regions
    and the downsampling for deep supervision: `insert_noise` puts it there.

    The seed is drawn from torch's generator and from NumPy's, as the workers of nnU-Net's
    augmenter start with copies of the same one of torch, and with one of NumPy each.

    Examples
    --------
    >>> import torch
    >>> from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform
    >>> noise = GaussianFieldNoiseTransform(amplitude=(0.5, 2), length_scale=6, mode="constant")
    >>> segmentation = torch.ones(1, 32, 32, 32, dtype=torch.int16)
    >>> noise(segmentation=segmentation)["segmentation"].dtype
    torch.int16
    """

    def __init__(
        self,
        amplitude: Any,
        length_scale: Any,
        *,
        spacing: Any = 1.0,
        p: float = 1.0,
        order: int = 0,
        mode: str = "nearest",
        ignore_label: int | None = None,
    ):
        super().__init__()
        self.spacing = spacing
        self.noises = Noises(
            amplitude=amplitude,
            length_scale=length_scale,
            p=p,
            order=order,
            mode=mode,
            ignore_index=ignore_label,
        )

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Draw the noise of a patch: numbers that JSON can hold."""
        segmentation = data_dict.get("segmentation")
        if segmentation is None:
            return {}
        # NumPy's old generator: it is what nnU-Net's workers are seeded by.
        seed = draw_seed() ^ int(np.random.randint(1 << 62, dtype=np.int64))  # noqa: NPY002
        noise = self.noises.of(segmentation.dim() - 1)
        return {"noise": noise.sample_params(1, spacing=self.spacing, seed=[seed])}

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        noise = self.noises.of(segmentation.dim() - 1)
        if segmentation.shape[0] == 1:
            return noise.apply(segmentation, params["noise"])
        return torch.cat([noise.apply(segmentation[:1], params["noise"]), segmentation[1:]])


def insert_noise(transforms: ComposeTransforms, noise: BasicTransform) -> ComposeTransforms:
    """Put a transform where noise belongs among nnU-Net's training transforms.

    Parameters
    ----------
    transforms : ComposeTransforms
        What `nnUNetTrainer.get_training_transforms` returns; it is changed.
    noise : GaussianFieldNoiseTransform
        The noise.

    Returns
    -------
    ComposeTransforms
        The transforms that were given, with the noise just after the removal of label -1.

    Raises
    ------
    ValueError
        If label -1 is removed nowhere.

    Examples
    --------
    >>> from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    >>> from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
    >>> from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform, insert_noise
    >>> pipeline = ComposeTransforms([RemoveLabelTransform(-1, 0)])
    >>> pipeline = insert_noise(pipeline, GaussianFieldNoiseTransform(1.0, 5.0))
    >>> [type(one).__name__ for one in pipeline.transforms]
    ['RemoveLabelTransform', 'GaussianFieldNoiseTransform']
    """
    places = [
        i
        for i, one in enumerate(transforms.transforms)
        if isinstance(one, RemoveLabelTransform) and one.label_value == -1
    ]
    if not places:
        listed = ", ".join(type(one).__name__ for one in transforms.transforms)
        raise ValueError(
            f"transforms must have a RemoveLabelTransform of label -1, got {listed or 'none'}"
        )
    transforms.transforms.insert(places[-1] + 1, noise)
    return transforms
