"""What a run is: one network, trained on one fold of one data set with one kind of label."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from gfnoise.torch import item_seed
from networks import HEADS, UNET

DATA = ("phantoms", "totalsegmentator", "raters")
LOSSES = ("ce", "soft-dice", "adaptive-wing")
TARGETS = (
    *("noisy", "marginal", "one-hot", "ls", "svls"),  # of one rater, or of none
    *("msvls", "average", "staple", "random"),  # of several
)
SELECT = ("dice", "loss", "last")
LENGTH_SCALE = 0.15 / math.sqrt(2)  # of the cube's side; Listing 2 of the paper has 0.15 sqrt 2
STREAMS = ("data", "network", "order", "augmentation", "training labels", "test labels", "choice")


@dataclass(frozen=True)
class Settings:
    """All that a result depends on; the defaults are the paper's (Section 5)."""

    data: str = "phantoms"
    organ: str = "esophagus"
    noise: float = 0.0  # amplitude, of the cube's side
    fold: int = 0
    loss: str = "ce"
    head: str = "sigmoid"
    targets: str = "noisy"
    fresh: bool = False  # new noise in each epoch; else one noisy label per case
    raters: int = 4  # simulated ones, for the targets that are made of several
    alpha: float = 0.1  # of label smoothing
    size: int = 64
    train: int = 320  # phantoms; a folder is cut into folds of `test` cases
    test: int = 80
    folds: int = 5
    channels: tuple[int, ...] = UNET
    epochs: int = 100
    batch_size: int = 1  # of each rank
    rate: float = 1e-4
    decay: float = 1e-5  # l2
    patience: int = 30
    augment: float = 0.5  # probability
    select: str = "dice"  # which epoch's network is kept
    amp: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                listed = ", ".join(choices)
                raise ValueError(f"{name} must be one of {listed}, got {getattr(self, name)!r}")
        for name in ("raters", "size", "train", "test", "folds", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 at least, got {getattr(self, name)}")
        for name in ("noise", "rate", "decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for name in ("augment", "alpha"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.data == "raters" and (self.noise or self.targets == "marginal"):
            raise ValueError(
                f"real raters bring their own noise, whose marginal is their average: noise must "
                f"be 0 and targets not 'marginal', got {self.noise} and {self.targets!r}"
            )
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold must be in [0, {self.folds - 1}], got {self.fold}")
        self.stream("data")  # checks the seed

    def stream(self, name: str) -> int:
        """The seed of one use of randomness, in this fold; the same for all losses and targets."""
        return item_seed(self.seed, self.fold, STREAMS.index(name))

    @property
    def name(self) -> str:
        """A folder's name: what one looks for, and a digest of everything."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        parts = (self.organ, f"a{self.noise:g}", self.loss, self.targets, f"fold{self.fold}")
        return "_".join((*parts, digest[:8]))

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """From what `to_json` gave."""
        return cls(**values | {"channels": tuple(values["channels"])})


_CHOICES = {
    "data": DATA,
    "loss": LOSSES,
    "head": HEADS,
    "targets": TARGETS,
    "select": SELECT,
}
# The paper's 32000 steps of 1e-4 become 3200 of 1e-2. Adam moves a weight by its rate at most in a
# step: with 3e-3 the last bias did not arrive, and p within the tube stayed below 1/2 for want of
# steps, even without noise. The network of the least loss is kept: at the highest noise the Dice of
# p >= 1/2 is near 0 for long, and would keep an epoch of cross-entropy at random. Without bfloat16,
# torch's convolutions of one small image take five times as long on a CPU.
CPU = Settings(
    noise=0.03,
    size=32,
    train=160,
    test=40,
    channels=(8, 16, 32),
    epochs=20,
    rate=1e-2,
    patience=1,
    select="loss",
    amp=True,
)
