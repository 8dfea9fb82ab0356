"""TorchIO 2 (its alpha, which does not live beside TorchIO 1)."""

import torch
import torchio

from . import _grids


def noise(volumes, noise, device="cpu"):
    """All subjects of a batch at once, each with its own field."""
    step, strength = _grids.linear(noise)
    transform = torchio.ElasticDeformation(
        num_control_points=max(4, round(volumes.shape[1] / step) + 1),
        max_displacement=strength,
        locked_borders=0,
    )
    kind = torchio.ScalarImage if volumes.dtype.kind == "f" else torchio.LabelMap
    subjects = [torchio.Subject(volume=kind(torch.from_numpy(one)[None])) for one in volumes]
    batch = torchio.SubjectsBatch.from_subjects(subjects).to(device)

    def call(seed):
        torch.manual_seed(seed)
        return transform(batch).volume.data[:, 0]

    return call
