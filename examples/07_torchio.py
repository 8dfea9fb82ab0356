"""TorchIO: label noise in a pipeline, and the same noise again from a subject's history.

pip install -e ".[torchio]"
python examples/07_torchio.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
import torchio

from gfnoise.integrations.torchio import RandomGaussianFieldNoise


def phantom(size: int) -> torchio.Subject:
    """Two organs, with voxels of 1 x 1 x 2 mm."""
    label = torch.zeros(1, size, size, size // 2, dtype=torch.uint8)
    label[:, size // 4 : 3 * size // 4, size // 4 : size // 2, size // 8 : size // 3] = 1
    label[:, size // 4 : 3 * size // 4, size // 2 : 3 * size // 4, size // 8 : size // 3] = 2
    affine = np.diag([1, 1, 2, 1])
    return torchio.Subject(
        image=torchio.ScalarImage(tensor=label + torch.randn(label.shape), affine=affine),
        label=torchio.LabelMap(tensor=label, affine=affine),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Draw noise, and replay it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=48, help="voxels per side (default: 48)")
    args = parser.parse_args(argv)

    torch.manual_seed(0)
    subject = phantom(args.size)
    pipeline = torchio.Compose(
        [
            torchio.RandomFlip(axes=("LR",)),
            RandomGaussianFieldNoise(amplitude=(0.5, 2.0), length_scale=8.0),  # mm
            torchio.RandomNoise(),
        ]
    )
    noisy = pipeline(subject)
    for transform in noisy.get_applied_transforms():
        print(transform)
    again = noisy.get_composed_history()(subject)
    print("replayed from the history:", torch.equal(noisy.label.data, again.label.data))
    volumes = [int((noisy.label.data == k).sum()) for k in (1, 2)]
    print("volumes of the organs in voxels:", *volumes, "dtype:", noisy.label.data.dtype)


if __name__ == "__main__":
    main()
