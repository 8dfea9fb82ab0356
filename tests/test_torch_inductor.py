"""`torch.compile` as users call it: its default backend, which needs a C++ compiler."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import gfnoise
import gfnoise.metrics

torch = pytest.importorskip("torch")

from gfnoise import GaussianField  # noqa: E402
from gfnoise.torch import LabelNoise, item_seed, svls_cross_entropy  # noqa: E402

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


def test_seeds_that_are_numbers() -> None:
    """Of 63 bits, and without a compilation for each."""
    labels, _, _ = data()
    noise = LabelNoise((0.5, 2.0), 4.0, ndim=2)
    for function in (lambda seed: noise(labels, seed=seed),
                     lambda seed: FIELD.sample_labels(labels, seed=seed)):  # fmt: skip
        compiled = torch.compile(function, fullgraph=True)
        for epoch in range(12):
            seeds = [item_seed(0, epoch, i) for i in range(2)]
            assert torch.equal(compiled(seeds[0]), function(seeds[0]))
            assert torch.equal(compiled(seeds), function(seeds))


def without_operators() -> dict[str, Any]:
    labels, maps, _ = data()
    maps = maps.detach()
    noise = LabelNoise((0.5, 2.0), 4.0, ndim=2)
    sample = {"image": maps[:, None], "label": labels}
    window = {"window": (slice(2, 7), slice(3, 9))}
    return {
        "displacement": lambda: FIELD.displacement((9, 11), seed=3, like=maps),
        "window": lambda: FIELD.sample_labels(labels, seed=3, **window),
        "fuse_raters": lambda: gfnoise.fuse_raters(torch.stack([labels, 1 - labels, labels])),
        "svls": lambda: gfnoise.svls(labels, num_classes=2, ndim=2),
        "volume_range": lambda: gfnoise.volume_range(maps, ndim=2).mean,
        "curves": lambda: gfnoise.volume_curves(maps[0]).dice(maps[1]),
        "dice": lambda: gfnoise.metrics.dice(labels, labels, ndim=2),
        "expected_score": lambda: gfnoise.expected_score(labels, labels, FIELD, n=3, seed=1).mean,
        "a dict": lambda: noise(sample, seed=5)["image"],
    }


@pytest.mark.parametrize("name", without_operators())
def test_what_has_no_operator_is_left_alone(name: str) -> None:
    """It breaks the graph, and is computed as ever: its arrays of NumPy are not traced."""
    function = without_operators()[name]
    found = torch.compile(lambda x: function() + x)(torch.zeros(1, dtype=torch.uint8))
    assert torch.equal(found, function() + torch.zeros(1, dtype=torch.uint8))
    torch._dynamo.reset()
    whole = torch.compile(lambda x: function() + x, fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        whole(torch.zeros(1))


# Torch's, of any tensor that crosses a break and has a gradient.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning")
def test_a_loss_that_breaks_the_graph_has_its_gradient() -> None:
    labels, maps, _ = data()

    def loss(maps: Any) -> Any:
        logits = torch.stack([maps, 1 - maps], 1)
        return svls_cross_entropy(2 * logits, labels, sigma=1.5) + maps.mean()

    results = [function(maps) for function in (loss, torch.compile(loss))]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*[torch.autograd.grad(one, maps)[0] for one in results])
