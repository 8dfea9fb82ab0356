"""A small U-Net trained on labels whose noise is fresh in each step, on phantoms.

    pip install -e ".[torch]"
    python examples/02_training_loop.py
    python examples/02_training_loop.py --device cuda --size 128 --features 16 --levels 5
    torchrun --nproc-per-node 2 examples/02_training_loop.py

Trained with cross-entropy on noisy labels, a network learns their marginal, E[L]: here it is known
in closed form. The script prints how close the network comes on images it has not seen, and the
Dice with E[L], D_m, of two masks made from its probabilities: those at 1/2, and the Dice-optimal
ones. It also prints which share of a training step the noise costs. With `--checkpoint`, a run that
was stopped goes on with the same noise, in the same order.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, DistributedSampler

from gfnoise import GaussianField, optimal_segmentation, score
from gfnoise.torch import LabelNoise, NoisyLabelLoader

AMPLITUDE, LENGTH_SCALE = 1 / 16, 1 / 6  # of the side of the cube
TIMED = 10  # steps


class Phantoms(Dataset[dict[str, Tensor]]):
    """Ellipsoids, and images of them: an edge, a gradient of intensity, white noise."""

    def __init__(self, count: int, size: int, first: int = 0):
        self.count, self.size, self.first = count, size, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(self.first + index)
        centre, radius = (torch.rand(2, 3, generator=random) * 0.2).unbind()
        axis = torch.linspace(0, 1, self.size)
        grid = torch.meshgrid(axis, axis, axis, indexing="ij")
        shape = zip(grid, centre + 0.4, radius + 0.15, strict=True)
        label = sum((x - c) ** 2 / r**2 for x, c, r in shape) < 1
        image = label + 0.5 * grid[0] + 0.3 * torch.randn(label.shape, generator=random)
        return {"image": image[None], "label": label[None].to(torch.uint8)}


class UNet(nn.Module):
    """Two convolutions at each level; half the resolution and twice the features at the next."""

    def __init__(self, features: int, levels: int):
        super().__init__()
        widths = [features << level for level in range(levels)]
        self.down = nn.ModuleList(map(block, [1, *widths], widths))
        self.up = nn.ModuleList([block(3 * width, width) for width in widths[-2::-1]])
        self.head = nn.Conv3d(features, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        kept = [self.down[0](x)]
        for stage in self.down[1:]:
            kept.append(stage(F.max_pool3d(kept[-1], 2)))
        x = kept.pop()
        for stage in self.up:
            wide = F.interpolate(x, kept[-1].shape[2:], mode="trilinear")
            x = stage(torch.cat([wide, kept.pop()], 1))
        return self.head(x)


def block(channels: int, features: int) -> nn.Sequential:
    """Two convolutions with their norms."""
    layers: list[nn.Module] = []
    for width in (channels, features):
        norm = nn.InstanceNorm3d(features, affine=True)
        layers += [nn.Conv3d(width, features, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, and time the noise."""
    args = make_parser().parse_args(argv)
    rank, device = join(args.device)
    torch.manual_seed(args.seed)
    model: nn.Module = UNet(args.features, args.levels).to(device)
    network = nn.parallel.DistributedDataParallel(model) if args.ranks > 1 else model
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    amplitude, length_scale = AMPLITUDE * args.size, LENGTH_SCALE * args.size
    noise = LabelNoise(amplitude, length_scale, ndim=3)
    data = Phantoms(args.items, args.size)
    loader = NoisyLabelLoader(
        data,
        noise,
        "label",
        device=device,
        seed=args.seed,
        batch_size=args.batch_size,
        num_workers=args.workers,
        **{"sampler": DistributedSampler(data)} if args.ranks > 1 else {"shuffle": True},
    )
    if args.checkpoint is not None and args.checkpoint.exists():
        state = torch.load(args.checkpoint, map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])

    step = 0.0
    while loader.epoch < args.epochs:
        epoch = loader.epoch
        loss, step = train(network, loader, optimizer, device)
        if rank == 0:
            print(f"epoch {epoch}: cross-entropy {loss:.4f}, {1e3 * step:.1f} ms per step")
            if args.checkpoint is not None:
                parts = {"model": model, "optimizer": optimizer, "loader": loader}
                save({k: one.state_dict() for k, one in parts.items()}, args.checkpoint)
    if rank == 0:
        evaluate(model, GaussianField(amplitude, length_scale, ndim=3), args, device)
        labels = torch.stack([data[i % len(data)]["label"] for i in range(args.batch_size)])
        cost = timed(noise, labels.to(device))
        share = f", {100 * cost / step:.2g} % of a step" if step else ""
        print(f"noise of a batch: {1e3 * cost:.2f} ms on the {device.type}{share}")
    if args.ranks > 1:
        torch.distributed.destroy_process_group()


def train(
    network: nn.Module, loader: NoisyLabelLoader, optimizer: Any, device: torch.device
) -> tuple[float, float]:
    """One epoch; the mean loss, and the time of a step."""
    losses = []
    start = time.perf_counter()
    for batch in loader:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(batch["image"])
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch["label"].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    mean = torch.stack(losses).mean().item()  # waits for the device
    return mean, (time.perf_counter() - start) / len(losses)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; who is stopped meanwhile has the one before."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


@torch.no_grad()
def evaluate(
    model: nn.Module, field: GaussianField, args: argparse.Namespace, device: torch.device
) -> None:
    """Compare probabilities of new images with the closed form, and two decisions."""
    model.eval()
    new = Phantoms(8, args.size, first=args.items)
    images = torch.stack([new[i]["image"] for i in range(len(new))])
    labels = torch.stack([new[i]["label"] for i in range(len(new))]).to(device)
    found = torch.cat([model(image[None].to(device)) for image in images]).float().sigmoid()
    marginals = field.marginals(labels, mode="nearest")  # as LabelNoise has it
    error = (found - marginals).abs().mean().item()
    print(f"network against E[L] on 8 new images: {error:.4f} mean absolute difference")
    masks = {
        "probability >= 1/2": found >= 0.5,
        "Dice-optimal mask": optimal_segmentation(found, ndim=3),
        "the best there is": optimal_segmentation(marginals, ndim=3),
    }
    for name, mask in masks.items():
        dice = score(mask, marginals, ndim=3).mean().item()
        volume = mask.sum().item() / marginals.sum().item()
        print(f"  {name}: Dice with E[L] {dice:.4f}, volume {volume:.3f} of the mean volume")


def timed(noise: LabelNoise, labels: Tensor) -> float:
    """Seconds that the noise of a batch takes."""
    noise(labels)
    wait = torch.cuda.synchronize if labels.is_cuda else (lambda: None)
    wait()
    start = time.perf_counter()
    for _ in range(TIMED):
        noise(labels)
    wait()
    return (time.perf_counter() - start) / TIMED


def join(wanted: str) -> tuple[int, torch.device]:
    """Join the other ranks, if torchrun has started any; this rank and its device."""
    rank, local = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
    device = torch.device("cuda", local) if wanted == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if ranks() > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, device


def ranks() -> int:
    """How many processes torchrun has started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", type=int, default=24, help="voxels per side of a phantom")
    parser.add_argument("--items", type=int, default=32, help="phantoms to train on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--features", type=int, default=8, help="of the U-Net's first level")
    parser.add_argument("--levels", type=int, default=3, help="of the U-Net")
    parser.add_argument("--batch-size", type=int, default=2, help="of each rank")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="file to go on from, and to write to")
    parser.set_defaults(ranks=ranks())
    return parser


if __name__ == "__main__":
    main()
