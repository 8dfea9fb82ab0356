"""What a network is trained on: noisy labels of simulated or real raters, and soft ones of them."""

from __future__ import annotations

import numpy as np
import torch

import gfnoise
from gfnoise.torch import LabelNoise, item_seed
from phantoms import Case
from settings import LENGTH_SCALE, Settings

SEVERAL = ("msvls", "average", "staple", "random")


def field(settings: Settings) -> gfnoise.GaussianField:
    """The noise model, in units of the cube."""
    return gfnoise.GaussianField(settings.noise, LENGTH_SCALE, spacing="unit", ndim=3)


def noisy_labels(case: Case, settings: Settings, seed: int, epoch: int, index: int) -> np.ndarray:
    """The labels of a case's raters, (raters, z, y, x): the real ones, or simulated.

    A simulated rater's label follows from the seed, the epoch, and the numbers of case and rater:
    asking for more raters changes none. Outside the patch is background (Nordström et al.
    2023, eq. 18).
    """
    if case.raters is not None:
        return case.raters
    count = settings.raters if settings.targets in SEVERAL else 1
    noise = LabelNoise(settings.noise, LENGTH_SCALE, ndim=3, spacing="unit", mode="constant")
    seeds = [item_seed(seed, epoch, rater << 32 | index) for rater in range(count)]
    labels = torch.from_numpy(case.label).expand(count, *case.label.shape)
    return noise(labels, seed=seeds).numpy()


def target(case: Case, settings: Settings, epoch: int, index: int) -> np.ndarray:
    """What the network shall predict: float32 (z, y, x) in [0, 1].

    "noisy" is one rater's label, "ls" and "svls" soften it; "msvls", "average", "staple" and
    "random" are made of several raters; "marginal" is E[L] in closed form, "one-hot" the clean
    label, or the majority of real raters.
    """
    kind = settings.targets
    if kind == "one-hot":
        return case.label.astype(np.float32)
    if kind == "marginal":
        return field(settings).marginals(case.label)
    epoch = epoch if settings.fresh else 0
    raters = noisy_labels(case, settings, settings.stream("training labels"), epoch, index)
    if kind == "noisy":
        return raters[0].astype(np.float32)
    if kind == "ls":
        return gfnoise.smooth_labels(raters[0], 2, settings.alpha)[1]
    if kind == "svls":
        return gfnoise.svls(raters[0], 2, ndim=3)[1]
    if kind == "msvls":
        return gfnoise.svls(raters, 2, ndim=3, axis=0)[1]
    # One of real raters is drawn anew in each epoch, as one of simulated ones is.
    seed = item_seed(settings.stream("choice"), epoch, index) if kind == "random" else None
    return gfnoise.fuse_raters(raters, kind, seed=seed).astype(np.float32)


def marginal(case: Case, settings: Settings) -> np.ndarray:
    """The probability of the foreground: in closed form, or the share of the real raters."""
    if case.raters is not None:
        return case.raters.mean(0, dtype=np.float32)
    return field(settings).marginals(case.label)
