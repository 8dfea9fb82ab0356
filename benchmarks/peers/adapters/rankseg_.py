"""RankSEG: the Dice-optimal mask by a reciprocal moment approximation."""

import torch
from rankseg import RankSEG


def decisions(maps, **options):
    solve = RankSEG(
        metric="dice", solver="RMA", output_mode="multilabel", pruning_prob=0.0, **options
    )
    tensor = torch.from_numpy(maps)[None]
    return lambda seed: solve.predict(tensor)[0]


def decisions_screened(maps):
    """With its experimental screening, which sorts less."""
    return decisions(maps, safe_screening=True)
