"""`torch.compile` as users call it: its default backend, which needs a C++ compiler."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import gfnoise

torch = pytest.importorskip("torch")

from gfnoise import GaussianField  # noqa: E402
from gfnoise.torch import LabelNoise  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),  # torch's, of itself
    pytest.mark.skipif(
        not any(map(shutil.which, ("g++", "clang++", "c++"))),
        reason="inductor, torch's default backend, needs a C++ compiler: there is none",
    ),
]
FIELD = GaussianField(1.5, 4.0, ndim=2)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()


def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (2, 9, 11), generator=generator, dtype=torch.uint8)
    maps = torch.rand((2, 9, 11), generator=generator, requires_grad=True)
    return labels, maps, torch.tensor([3, 4])


class Step(torch.nn.Module):
    """What a training step does: noise, theory and a loss between torch's own operations."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = LabelNoise((0.5, 2.0), (3.0, 4.0), ndim=2, p=0.8)

    def forward(self, labels: Any, maps: Any, seeds: Any) -> Any:
        noisy = self.noise(labels, seed=seeds)
        target = (FIELD.marginals(noisy) + noisy.float()) / 2
        smooth = gfnoise.gaussian_filter(maps.sigmoid(), 1.0, axes=(1, 2)) + 0.1 * maps
        loss = (smooth - target).square().mean()
        with torch.no_grad():
            mask = gfnoise.optimal_segmentation(target, ndim=2)
            dice = gfnoise.score(mask, target, ndim=2)
        return noisy, mask, dice, loss


def test_a_training_step() -> None:
    labels, maps, seeds = data()
    step = Step()
    expected = step(labels, maps, seeds)
    found = torch.compile(step, fullgraph=True)(labels, maps, seeds)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    for one, other in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(one, other)
    gradients = [torch.autograd.grad(each[3], maps)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_other_shapes_and_a_seed_of_torchs_own() -> None:
    labels, _, _ = data()
    noise = LabelNoise((0.5, 2.0), 4.0, ndim=2)
    compiled = torch.compile(noise, fullgraph=True)
    for repeats in (1, 2, 3):
        some = labels.repeat(1, repeats, 1)
        assert torch.equal(compiled(some, seed=9), noise(some, seed=9))
    torch.manual_seed(5)
    found = [compiled(labels) for _ in range(2)]
    assert not torch.equal(*found)  # a compiled call draws anew, in an order of its own
    assert set(found[0].unique().tolist()) <= {0, 1}


def test_labels_that_are_not_contiguous() -> None:
    """Operators are held to the strides of their fakes."""
    labels = torch.zeros(2, 11, 9, dtype=torch.uint8)
    labels[:, 3:8, 2:6] = 1
    for p in (0.0, 0.5, 1.0):
        noise = LabelNoise(2.0, 4.0, ndim=2, p=p)
        compiled = torch.compile(lambda one, noise=noise: noise(one, seed=3).float() * 2)
        expected = noise(labels.mT, seed=3)
        assert expected.is_contiguous()
        assert torch.equal(compiled(labels.mT), expected.float() * 2)
