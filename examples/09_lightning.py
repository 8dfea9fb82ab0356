"""Lightning: a callback that gives each training batch fresh label noise.

    pip install -e ".[lightning]"
    python examples/09_lightning.py

Validation is on clean labels. A run that is resumed from a checkpoint goes on with the noise it
would have had.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gfnoise.integrations.lightning import GaussianFieldNoiseCallback
from gfnoise.torch import LabelNoise


class Network(pl.LightningModule):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 5, padding=2),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 1, 5, padding=2),
        )

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy, for which the best answer is the marginal."""
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self.layers(batch["image"]), batch["label"].float()
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """On noisy labels."""
        changed = (batch["label"] != batch["clean"]).float().mean()
        print(f"step {self.global_step}: labels changed at {changed:.2%} of pixels")
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """On clean labels."""
        self.log("validation", self.loss(batch))

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.parameters(), 1e-2)


def phantoms(count: int, size: int) -> list[dict[str, Tensor]]:
    """Discs and their images."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij"))
    labels = [(grid**2).sum(0)[None] < 0.2 + 0.1 * i / count for i in range(count)]
    return [
        {"image": label + torch.randn(label.shape), "label": label.to(torch.uint8)}
        for label in labels
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="pixels per side (default: 64)")
    parser.add_argument("--epochs", type=int, default=2, help="(default: 2)")
    args = parser.parse_args(argv)
    pl.seed_everything(0, verbose=False)
    noise = LabelNoise(amplitude=(1.0, 3.0), length_scale=10.0, ndim=2)  # in pixels
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        callbacks=[GaussianFieldNoiseCallback(noise, "label", clean_key="clean")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = phantoms(8, args.size)
    trainer.fit(Network(), DataLoader(data, batch_size=4), DataLoader(data, batch_size=4))
    print(f"validation, on clean labels: {trainer.callback_metrics['validation']:.3f}")


if __name__ == "__main__":
    main()
