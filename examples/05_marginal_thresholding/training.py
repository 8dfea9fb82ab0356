"""Training of one network (Nordström et al. 2023, 5.3): resumable, on one or several ranks."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler
from tqdm import tqdm

from gfnoise.torch import AdaptiveWingLoss, SoftDiceLoss
from networks import UNet, probabilities
from phantoms import Case
from samples import Samples
from settings import Settings

COLUMNS = ("epoch", "loss", "dice", "rate", "seconds")


@dataclass(frozen=True)
class Place:
    """Where a run computes."""

    device: torch.device
    rank: int = 0
    ranks: int = 1
    workers: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def train(settings: Settings, cases: Sequence[Case], folder: Path, place: Place) -> nn.Module:
    """Train a network, or go on where `folder` stopped; the selected one.

    After each epoch the whole state is written to a new file that then takes the old one's name:
    a run that is killed, or whose disk is full, loses no more than the epoch it was in. As data,
    noise and order follow from the seeds and the epoch, a resumed run is the run.
    """
    run = Run(settings, cases, place)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.load(torch.load(checkpoint, map_location="cpu", weights_only=True))
    total = settings.epochs * len(run.loader)
    with tqdm(
        total=total,
        initial=len(run.history) * len(run.loader),
        desc=settings.name,
        disable=None if place.first else True,
    ) as bar:
        while len(run.history) < settings.epochs:
            run.epoch(bar)
            if place.first:
                write(checkpoint, lambda file: torch.save(run.state(), file))
                write(folder / "log.csv", lambda file: file.write(run.log().encode()))
    run.model.load_state_dict(run.best["model"])
    return run.model.eval()


class Run:
    """The state of a training: network, optimiser, schedule, history, and the best so far."""

    def __init__(self, settings: Settings, cases: Sequence[Case], place: Place):
        self.settings, self.place = settings, place
        torch.manual_seed(settings.stream("network"))
        self.model = UNet(settings.channels).to(place.device)
        self.network: nn.Module = self.model
        if place.ranks > 1:
            self.network = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=1 / 5, patience=settings.patience
        )
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"score": -float("inf"), "epoch": -1, "model": {}}
        self.samples = Samples(cases, settings)
        self.sampler: Any = DistributedSampler(
            self.samples, place.ranks, place.rank, seed=settings.stream("order")
        )
        self.loader = DataLoader(
            self.samples,
            settings.batch_size,
            sampler=self.sampler,
            num_workers=place.workers,
            pin_memory=place.device.type == "cuda",
        )
        self.loss = LOSSES[settings.loss]

    def epoch(self, bar: tqdm) -> None:
        """Train for an epoch, and note how it went."""
        number, start = len(self.history), time.perf_counter()
        self.samples.epoch = number  # workers start with each pass
        self.sampler.set_epoch(number)
        self.model.train()
        sums = torch.zeros(3, device=self.place.device)  # loss, Dice, items
        for image, target in self.loader:
            sums += self.step(image.to(self.place.device), target.to(self.place.device))
            bar.update()
        if self.place.ranks > 1:
            torch.distributed.all_reduce(sums)
        loss, dice = (sums[:2] / sums[2]).tolist()
        if not loss == loss:
            raise FloatingPointError(f"{self.settings.name}: the loss of epoch {number} is NaN")
        rate = self.optimizer.param_groups[0]["lr"]
        seconds = round(time.perf_counter() - start, 2)
        row = (number, loss, dice, rate, seconds)
        self.history.append(dict(zip(COLUMNS, row, strict=True)))
        bar.set_postfix(loss=f"{loss:.4f}", dice=f"{dice:.3f}")
        self.schedule.step(loss)
        score = {"dice": dice, "loss": -loss, "last": number}[self.settings.select]
        if score > self.best["score"]:
            model = {name: value.clone() for name, value in self.model.state_dict().items()}
            self.best = {"score": score, "epoch": number, "model": model}

    def step(self, image: Tensor, target: Tensor) -> Tensor:
        """One step; the sums of loss and Dice over the items, and their number."""
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.settings.amp):
            logits = self.network(image)
        logits = logits.float()  # bfloat16 needs no scaling, but losses need digits
        loss = self.loss(logits, target, self.settings.head)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            found = probabilities(logits, self.settings.head) >= 0.5
            misses = SoftDiceLoss(reduction="sum")(found.float(), (target >= 0.5).float())
            items = misses.new_tensor(len(image))
            return torch.stack([loss * items, items - misses, items])

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "settings": self.settings.to_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": self.best,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if state["settings"] != self.settings.to_json():
            raise ValueError(f"{self.settings.name}: the checkpoint is one of other settings")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.best = state["history"], state["best"]

    def log(self) -> str:
        """The history as CSV."""
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(self.history)
        return text.getvalue()


def cross_entropy(logits: Tensor, target: Tensor, head: str) -> Tensor:
    """Binary cross-entropy, the mean over voxels; of NormReLU a little inside (0, 1)."""
    if head == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits, target)
    inside = probabilities(logits, head) * (1 - 2e-6) + 1e-6
    return F.binary_cross_entropy(inside, target)


def soft_dice(logits: Tensor, target: Tensor, head: str) -> Tensor:
    """Soft-Dice (eq. 2), of each item."""
    return SoftDiceLoss()(probabilities(logits, head), target)


def adaptive_wing(logits: Tensor, target: Tensor, head: str) -> Tensor:
    """The adaptive wing loss, the mean over voxels."""
    return AdaptiveWingLoss()(probabilities(logits, head), target)


LOSSES: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "ce": cross_entropy,
    "soft-dice": soft_dice,
    "adaptive-wing": adaptive_wing,
}


def write(path: Path, save: Callable[[Any], object]) -> None:
    """Write a file whole or not at all: what was there stays until the new one is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + f".{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def joined(device: str, workers: int = 0) -> Iterator[Place]:
    """Join the other ranks, if torchrun has started any, and compute alike in every run."""
    rank, local, ranks = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1))
    )
    chosen = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if ranks > 1:
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Place(chosen, rank, ranks, workers)
    finally:
        torch.use_deterministic_algorithms(False)
        if ranks > 1:
            torch.distributed.destroy_process_group()
