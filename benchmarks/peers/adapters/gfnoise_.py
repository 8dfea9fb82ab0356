"""gfnoise."""

import numpy as np

import gfnoise


def noise(volumes, noise, order=0, device="cpu"):
    field = gfnoise.GaussianField(noise.std, noise.length_scale, ndim=3)
    items, shape = range(len(volumes)), volumes.shape[1:]
    if volumes.dtype.kind != "f":
        labels = _place(volumes, device)
        return lambda seed: field.sample_labels(labels, seed=[seed + i for i in items], order=order)
    grid = np.indices(shape, np.float32)

    def call(seed):
        fields = field.displacement(shape, seed=[seed + i for i in items])
        pairs = zip(volumes, fields, strict=True)
        return [gfnoise.map_coordinates(one, grid + x, mode="nearest") for one, x in pairs]

    return call


def marginals(labels, std, classes=None, device="cpu"):
    field = gfnoise.GaussianField(std, 1.0, ndim=3)
    labels = _place(labels, device)
    return lambda seed: field.marginals(labels, num_classes=classes, method="sampled")


def decisions(maps, device="cpu"):
    maps = _place(maps, device)
    return lambda seed: gfnoise.optimal_segmentation(maps, ndim=3)


def svls(labels, classes):
    return lambda seed: gfnoise.svls(labels, classes, ndim=3)


def staple(masks):
    return lambda seed: gfnoise.staple(masks).probability


def _place(array, device):
    if device == "cpu":
        return array
    import torch

    return torch.from_numpy(array).to(device)
