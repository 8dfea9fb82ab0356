"""`svls` against one-hot and a convolution in torch; the fused loss against two steps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import gfnoise
from cases import MIDDLE, STRUCTURES
from gfnoise.torch.softlabels import svls_cross_entropy

CLASSES = 4


def organs() -> np.ndarray:
    return STRUCTURES["organs"](MIDDLE) % CLASSES


def noise() -> np.ndarray:
    """No two neighbours alike: nothing to skip."""
    return np.random.default_rng(0).integers(0, CLASSES, MIDDLE).astype(np.uint8)


def by_convolution(labels: np.ndarray) -> np.ndarray:
    """What the paper's code does: one-hot, pad, one channel after the other."""
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"))
    weights = np.exp(-(offsets**2).sum(0) / 2)
    weights[1, 1, 1] = weights.sum() - 1
    kernel = torch.from_numpy(weights / weights.sum()).float()[None, None]
    hot = F.one_hot(torch.from_numpy(labels).long(), CLASSES).movedim(-1, 0).float()[:, None]
    return F.conv3d(F.pad(hot, (1,) * 6, mode="replicate"), kernel)[:, 0].numpy()


def close(result: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("labels", [organs, noise])
def test_svls(race, labels):
    labels = labels()
    race(
        lambda: gfnoise.svls(labels, CLASSES, ndim=3),
        lambda: by_convolution(labels),
        name="one-hot, conv3d, torch",
        voxels=labels.size,
        verify=close,
    )


def test_label_smoothing(race):
    labels = organs()
    race(
        lambda: gfnoise.smooth_labels(labels, CLASSES, 0.1),
        lambda: (
            (F.one_hot(torch.from_numpy(labels).long(), CLASSES).movedim(-1, 0) * 0.9 + 0.1 / 4)
            .contiguous()
            .numpy()
        ),
        name="one-hot, torch",
        voxels=labels.size,
        verify=close,
    )


def test_loss_and_gradient(race):
    labels = organs()
    target = torch.from_numpy(labels)[None]
    logits = torch.randn((1, CLASSES, *MIDDLE), generator=torch.Generator().manual_seed(0))
    logits.requires_grad_(True)

    def two_steps() -> np.ndarray:
        soft = torch.from_numpy(by_convolution(labels))[None]
        loss = -(soft * torch.log_softmax(logits, 1)).sum(1).mean()
        return torch.autograd.grad(loss, logits)[0].numpy()

    race(
        lambda: torch.autograd.grad(svls_cross_entropy(logits, target), logits)[0].numpy(),
        two_steps,
        name="one-hot, conv3d, log_softmax, torch",
        voxels=labels.size,
        verify=lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7 / np.sqrt(labels.size)),
    )
