"""nnU-Net v2: label noise among its own training transforms.

    pip install -e ".[nnunet]"
    python examples/08_nnunet.py

To train with it, put `MyTrainer` in a file of its own in some folder, and:

    nnUNet_extTrainer=/that/folder nnUNetv2_train 1 3d_fullres 0 -tr MyTrainer

`nnUNetTrainerGaussianFieldNoiseGPU` instead makes the noise on the GPU, for the whole batch.
"""

from __future__ import annotations

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform, insert_noise
from gfnoise.integrations.nnunet_trainer import nnUNetTrainerGaussianFieldNoise


class MyTrainer(nnUNetTrainerGaussianFieldNoise):
    """Noise of 0.5 to 2 mm, on nine of ten patches."""

    amplitude = (0.5, 2.0)  # mm
    length_scale = 8.0  # mm
    noise_p = 0.9


def main() -> None:
    """Build nnU-Net's pipeline, put the noise in, and apply it to a patch."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - nnU-Net draws from it
    patch = (32, 32, 32)
    pipeline = nnUNetTrainer.get_training_transforms(
        np.array(patch), (-0.5, 0.5), [(1, 1, 1), (0.5, 0.5, 0.5)], (0, 1, 2), False, ignore_label=3
    )
    noise = GaussianFieldNoiseTransform(
        MyTrainer.amplitude, MyTrainer.length_scale, spacing=(1.0, 1.0, 1.0), ignore_label=3
    )
    for transform in insert_noise(pipeline, noise).transforms:
        print(type(transform).__name__)
    segmentation = torch.zeros(1, *patch, dtype=torch.int16)
    segmentation[:, 8:24, 8:24, 8:24] = 1
    segmentation[:, :4] = 3  # not annotated: stays where it is
    found = pipeline(image=torch.randn(1, *patch), segmentation=segmentation)
    for target in found["segmentation"]:
        print(tuple(target.shape), target.dtype, "labels", target.unique().tolist())


if __name__ == "__main__":
    main()
