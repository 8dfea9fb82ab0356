"""nnU-Net v2: trainers with label noise, made in the workers or on the GPU."""

from typing import Any

import torch
from torch import Tensor

from ..torch import LabelNoise
from ._common import missing
from .nnunet import GaussianFieldNoiseTransform, insert_noise

try:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
except ImportError as error:
    raise missing("nnU-Net v2", "nnunet", error) from error

__all__ = ["nnUNetTrainerGaussianFieldNoise", "nnUNetTrainerGaussianFieldNoiseGPU"]

_BITS = 31  # regions that fit into the int32 of a voxel


class _Settings(nnUNetTrainer):
    """The noise of both trainers: subclass one to change it."""

    amplitude: Any = (0.0, 2.0)
    """Standard deviation of the displacement in mm, or its range."""
    length_scale: Any = 10.0
    """Correlation length of the displacement in mm, or its range."""
    noise_p: float = 1.0
    """The probability that a patch gets noise."""
    noise_order: int = 0
    """0: the label of the voxel that holds the displaced point. 1: the voxels around it vote."""


class nnUNetTrainerGaussianFieldNoise(_Settings):
    """nnU-Net's trainer with noisy labels, made in the augmentation's workers.

    To use it, put a file with a subclass in a folder that the environment variable
    `nnUNet_extTrainer` names, and train with ``-tr MyTrainer``::

        from gfnoise.integrations.nnunet_trainer import nnUNetTrainerGaussianFieldNoise

        class MyTrainer(nnUNetTrainerGaussianFieldNoise):
            amplitude = (0.5, 2.0)  # mm
            length_scale = 8.0  # mm

    Validation is on clean labels.
    """

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """The transforms of nnU-Net, with the noise after the removal of label -1."""
        noise = GaussianFieldNoiseTransform(
            self.amplitude,
            self.length_scale,
            spacing=self.configuration_manager.spacing,
            p=self.noise_p,
            order=self.noise_order,
            ignore_label=self.label_manager.ignore_label,
        )
        return insert_noise(super().get_training_transforms(*args, **kwargs), noise)


class nnUNetTrainerGaussianFieldNoiseGPU(_Settings):
    """nnU-Net's trainer with noisy labels, made where the network is trained.

    As `nnUNetTrainerGaussianFieldNoise`; but the whole batch gets its noise on the trainer's
    device, and the targets of deep supervision are made anew from it.
    """

    def train_step(self, batch: dict[str, Any]) -> Any:
        """The step of nnU-Net, on noisy targets."""
        target = batch["target"]
        targets = target if isinstance(target, list) else [target]
        first = self._noisy(targets[0].to(self.device, non_blocking=True))
        made = [first, *(_at_size_of(one, first) for one in targets[1:])]
        return super().train_step(batch | {"target": made if isinstance(target, list) else first})

    def _noisy(self, target: Tensor) -> Tensor:
        """The labels, or the regions, of a batch with noise."""
        regions, ignore = self.label_manager.has_regions, self.label_manager.ignore_label
        noise = LabelNoise(
            self.amplitude,
            self.length_scale,
            ndim=target.dim() - 2,
            spacing=self.configuration_manager.spacing,
            p=self.noise_p,
            order=self.noise_order,
            ignore_index=None if ignore is None else -1 if regions else ignore,
        )
        if not regions:
            return noise(target.to(torch.int32)).to(target.dtype)
        return _as_regions(noise(_as_codes(target, ignore is not None)), target, ignore is not None)


def _as_codes(regions: Tensor, ignore: bool) -> Tensor:
    """Regions (B, R, *space) as one number per voxel, a bit each; -1 where all is ignored."""
    count = regions.shape[1] - ignore
    if count > _BITS:
        raise ValueError(f"regions must be at most {_BITS}, got {count}")
    codes = torch.zeros_like(regions[:, :1], dtype=torch.int32)
    for i in range(count):
        codes |= (regions[:, i : i + 1] != 0).to(torch.int32) << i
    return torch.where(regions[:, -1:] != 0, -1, codes) if ignore else codes


def _as_regions(codes: Tensor, like: Tensor, ignore: bool) -> Tensor:
    """The inverse of `_as_codes`; where voxels are ignored, their regions stay those of `like`."""
    made = like.clone()
    pinned = codes == -1
    for i in range(like.shape[1] - ignore):
        part = (codes >> i & 1).to(like.dtype)
        made[:, i : i + 1] = torch.where(pinned, like[:, i : i + 1], part) if ignore else part
    return made


def _at_size_of(smaller: Tensor, target: Tensor) -> Tensor:
    """A target of deep supervision, as nnU-Net makes it of the whole one."""
    if smaller.shape == target.shape:
        return target
    size = smaller.shape[2:]
    made = torch.nn.functional.interpolate(target.float(), size, mode="nearest-exact")
    return made.to(target.dtype)
