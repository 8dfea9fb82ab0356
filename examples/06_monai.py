"""MONAI: fresh noisy labels in a training pipeline, and Dice-optimal masks after the network.

    pip install -e ".[monai]"
    python examples/06_monai.py

The clean label stays under its own key; the network is trained on the noisy one. What the cache
holds is made once, the noise in each epoch anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from monai.data import CacheDataset, MetaTensor, ThreadDataLoader
from monai.networks.nets import UNet
from monai.transforms import Compose, NormalizeIntensityd, RandFlipd
from monai.utils import set_determinism

from gfnoise.integrations.monai import OptimalSegmentationd, RandGaussianFieldNoised

SPACING = (1.0, 1.0, 2.0)  # mm


def phantom(number: int, size: int) -> dict[str, MetaTensor]:
    """An ellipsoid and its image, as LoadImaged would give them: with an affine."""
    random = np.random.default_rng(number)
    grid = np.indices((size, size, size // 2)) / size * np.reshape([1, 1, 2], (3, 1, 1, 1)) - 0.5
    label = ((grid / random.uniform(0.2, 0.4, (3, 1, 1, 1))) ** 2).sum(0) < 1
    image = label + random.normal(size=label.shape)
    affine = torch.diag(torch.tensor([*SPACING, 1.0]))
    return {
        "image": MetaTensor(torch.from_numpy(image[None]).float(), affine=affine),
        "label": MetaTensor(torch.from_numpy(label[None]).to(torch.uint8), affine=affine),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Train a small network, and print the share of the voxels whose label the noise changed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=32, help="voxels per side (default: 32)")
    parser.add_argument("--epochs", type=int, default=3, help="(default: 3)")
    args = parser.parse_args(argv)

    set_determinism(0)
    training = Compose(
        [
            NormalizeIntensityd("image"),
            RandFlipd(["image", "label"], prob=0.5, spatial_axis=0),
            RandGaussianFieldNoised(
                "label", amplitude=(0.5, 2.0), length_scale=8.0, prob=0.9, output_keys="noisy"
            ),  # in mm
        ]
    )
    post = Compose([OptimalSegmentationd("probability", "dice", output_keys="mask")])
    cases = [phantom(i, args.size) for i in range(4)]
    loader = ThreadDataLoader(CacheDataset(cases, training, progress=False), batch_size=2)
    network = UNet(3, 1, 1, channels=(4, 8), strides=(2,))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(args.epochs):
        changed = []
        for batch in loader:
            noisy = batch["noisy"].as_tensor()
            changed.append((noisy != batch["label"].as_tensor()).float().mean().item())
            logits = network(batch["image"].as_tensor())
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, noisy.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss:.3f}, labels changed at {np.mean(changed):.2%} of voxels")
    image = training(cases[0])["image"]
    with torch.no_grad():
        probability = network(image.as_tensor()[None])[0].sigmoid()
    result = post({"probability": probability})
    at_half = int((probability >= 0.5).sum())
    print(f"mask: {int(result['mask'].sum())} voxels Dice-optimal, {at_half} at probability 1/2")
    set_determinism(None)


if __name__ == "__main__":
    main()
