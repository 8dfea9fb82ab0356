"""What a trained network is worth on the cases of its fold that it has not seen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import targets
from gfnoise import optimal_segmentation, optimal_threshold, score
from gfnoise.metrics import brier_score
from networks import probabilities
from phantoms import Case
from settings import Settings
from training import Place, write

BINS = 20
VERSION = 1


@torch.no_grad()
def evaluate(
    model: nn.Module, settings: Settings, cases: Sequence[Case], place: Place
) -> dict[str, Any]:
    """Score every case; what a result file holds.

    Each decision is scored against the noisy labels (the paper's way; the mean over real raters),
    the clean label and the marginal (`score`, D_m); so are the decisions made of the marginal
    itself, under "theory": of all masks the best accuracy against it, and the best D_m.
    """
    rows, bins = [], np.zeros((4, BINS))
    for index, case in enumerate(cases):
        image = torch.from_numpy(case.image)[None, None].to(place.device)
        logits = model(image).float()
        found = probabilities(logits, settings.head)[0, 0].cpu().numpy()
        marginal = targets.marginal(case, settings)
        seed = settings.stream("test labels")
        single = dataclasses.replace(settings, targets="noisy")
        raters = targets.noisy_labels(case, single, seed, 0, index)
        rows.append(scored(case, found, marginal, raters))
        bins += reliability(found, marginal, raters)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    names = ("voxels", "probability", "marginal", "labels")
    curve = {name: row.tolist() for name, row in zip(names, bins, strict=True)}
    return {"cases": [case.name for case in cases], "scores": columns, "reliability": curve}


def scored(
    case: Case, found: np.ndarray, marginal: np.ndarray, raters: np.ndarray
) -> dict[str, float]:
    """All figures of one case."""
    row: dict[str, float] = {}
    masks = {
        "half": found >= 0.5,
        "optimal": optimal_segmentation(found),
        "theory_half": marginal >= 0.5,
        "theory_optimal": optimal_segmentation(marginal),
    }
    clean = case.label.astype(np.float32)
    for name, mask in masks.items():
        against = [float(score(mask, one.astype(np.float32))) for one in raters]
        row[f"{name}_noisy"] = float(np.mean(against))
        row[f"{name}_clean"] = float(score(mask, clean))
        row[f"{name}_marginal"] = float(score(mask, marginal))
        row[f"{name}_volume"] = float(mask.sum() / max(marginal.sum(dtype=float), 1e-9))
    row["threshold"] = float(optimal_threshold(found))
    row["theory_threshold"] = float(optimal_threshold(marginal))
    # Against E[L], and what a constant has at best; against labels, and what E[L] has itself.
    row["brier"] = float(brier_score(found, marginal))
    row["brier_constant"] = float(np.var(marginal, dtype=float))
    row["brier_noisy"] = float(np.mean([brier_score(found, one) for one in raters]))
    row["brier_noise"] = float(np.mean(marginal * (1 - marginal), dtype=float))
    return row


def reliability(found: np.ndarray, marginal: np.ndarray, raters: np.ndarray) -> np.ndarray:
    """Per bin of the probability: voxels, and the sums of probability, marginal and label."""
    number = np.minimum((found * BINS).astype(int), BINS - 1).ravel()
    weights = (None, found, marginal, raters.mean(0))
    return np.stack(
        [
            np.bincount(number, None if one is None else one.ravel(), minlength=BINS)
            for one in weights
        ]
    )


def save(
    path: Path, settings: Settings, result: dict[str, Any], history: Sequence[dict[str, float]]
) -> None:
    """Write a result file, whole or not at all."""
    whole = {
        "version": VERSION,
        "settings": settings.to_json(),
        "history": list(history),
        **result,
    }
    text = json.dumps(_rounded(whole)) + "\n"
    write(path, lambda file: file.write(text.encode()))


def _rounded(value: Any) -> Any:
    """Floats of seven digits."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
