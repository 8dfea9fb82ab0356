"""gfnoise.torch on CUDA: values, streams, devices, captured graphs, no waiting for the device."""

from __future__ import annotations

import gc
import itertools
from importlib.util import find_spec
from typing import Any

import pytest

import gfnoise
from gfnoise import GaussianField

torch = pytest.importorskip("torch")

from gfnoise.torch import LabelNoise, NoisyLabelLoader  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    # Python 3.12 warns of any fork while threads run, as the loader's workers are.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed"),
    pytest.mark.skipif(find_spec("gfnoise._cuda") is None, reason="there are no CUDA kernels"),
]
LABELS = torch.zeros(2, 1, 32, 40, 48, dtype=torch.uint8)
LABELS[0, 0, 8:24, 8:30, 10:40] = 1
LABELS[1, 0, 4:20, 12:36, 5:25] = 3
FIELD = GaussianField(1.5, 6.0, ndim=3)
NOISE = LabelNoise(1.5, 6.0, ndim=3)


def alike(found: Any, expected: Any) -> None:
    """Equal but where the decision is within rounding."""
    assert (found.device.type, found.dtype) == ("cuda", expected.dtype)
    assert found.shape == expected.shape
    assert (found.cpu() != expected).float().mean() < 1e-3


def test_values_are_those_of_the_cpu() -> None:
    labels = LABELS.cuda()
    alike(FIELD.sample_labels(labels, seed=[1, 2]), FIELD.sample_labels(LABELS, seed=[1, 2]))
    marginals = FIELD.marginals(labels > 0)
    expected = FIELD.marginals(LABELS > 0)
    torch.testing.assert_close(marginals.cpu(), expected, atol=1e-6, rtol=0)
    smooth = gfnoise.gaussian_filter(marginals, 1.0, axes=(2, 3, 4))
    wanted = gfnoise.gaussian_filter(expected, 1.0, axes=(2, 3, 4))
    torch.testing.assert_close(smooth.cpu(), wanted, atol=1e-6, rtol=0)
    masks = gfnoise.optimal_segmentation(marginals, ndim=3)
    alike(masks, gfnoise.optimal_segmentation(expected, ndim=3))
    move = FIELD.displacement((32, 40, 48), seed=[1, 2], like=labels)
    alike(gfnoise.warp_labels(labels[:, 0], move), FIELD.sample_labels(LABELS[:, 0], seed=[1, 2]))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize("p", [1.0, 0.7])
def test_noise_does_not_wait(p: float) -> None:
    noise = LabelNoise((1.0, 2.0), 6.0, ndim=3, p=p)
    assert {one["applied"] for one in noise.sample_params(2, seed=[4, 8])} == {True, p == 1}
    labels = LABELS.cuda()
    noise(labels, seed=[4, 8])  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        noisy, seeded = noise(labels), noise(labels, seed=[4, 8])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert noisy.shape == labels.shape
    alike(seeded, noise(LABELS, seed=[4, 8]))


def test_memory_is_torchs() -> None:
    import cupy

    gc.collect()
    pool = cupy.get_default_memory_pool().used_bytes()
    before = torch.cuda.memory_allocated()
    noisy = NOISE(LABELS.cuda(), seed=1)
    assert torch.cuda.memory_allocated() >= before + noisy.nbytes
    assert cupy.get_default_memory_pool().used_bytes() <= pool  # scratch of CuPy's may go


def test_a_side_stream() -> None:
    expected = NOISE(LABELS, seed=[1, 2])
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        labels = torch.zeros(2, 1, 32, 40, 48, dtype=torch.uint8, device="cuda")
        torch.cuda._sleep(50_000_000)  # what reads too early sees zeros
        labels.copy_(LABELS.pin_memory(), non_blocking=True)
        noisy = NOISE(labels, seed=[1, 2])
    torch.cuda.current_stream().wait_stream(stream)
    alike(noisy, expected)


def test_a_result_stays_until_the_streams_that_read_it_are_past() -> None:
    """A loader makes a batch on a stream of its own, and is asked for the next one early."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    with torch.cuda.stream(stream):
        noisy = NOISE(LABELS.cuda(), seed=[1, 2])
    current.wait_stream(stream)
    torch.cuda._sleep(200_000_000)
    noisy.record_stream(current)
    start, size = noisy.data_ptr(), noisy.nbytes
    del noisy
    with torch.cuda.stream(stream):
        others = [torch.empty_like(LABELS, device="cuda") for _ in range(8)]
    assert not current.query()
    assert all(abs(one.data_ptr() - start) >= size for one in others)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is no second CUDA device")
def test_the_second_device() -> None:
    noisy = NOISE(LABELS.to("cuda:1"), seed=[1, 2])
    assert noisy.device == torch.device("cuda", 1)
    assert torch.cuda.current_device() == 0
    alike(noisy, NOISE(LABELS, seed=[1, 2]))
    with pytest.raises(ValueError, match="tensors of one device, got labels on cuda:0, out on cu"):
        FIELD.sample_labels(LABELS.cuda(), seed=1, out=noisy)


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_a_captured_graph_has_fresh_noise(p: float) -> None:
    noise = LabelNoise(2.0, 6.0, ndim=3, p=p)
    labels = LABELS.cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        noise(labels, seed=torch.tensor([1, 2], device="cuda"))
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        noisy = noise(labels)
        with pytest.raises(RuntimeError, match="while a CUDA graph is captured"):
            noise.sample_params(2)
    found = []
    for _ in range(6):
        graph.replay()
        found.append(noisy.clone())
    same = sum(torch.equal(a, b) for a, b in itertools.pairwise(found))
    assert same < 5
    if p == 1.0:
        assert same == 0


@pytest.mark.skipif(find_spec("triton") is None, reason="torch.compile needs triton on a device")
def test_a_step_compiled_with_cuda_graphs() -> None:
    """The noise is made between the graphs, of the seed of each call."""

    def step(labels: Any, seed: Any) -> Any:
        noisy = NOISE(labels * 2, seed=seed)
        return noisy * 3, FIELD.marginals(labels > 0) * 0.5

    compiled = torch.compile(step, mode="reduce-overhead", fullgraph=True)
    labels = LABELS.cuda()
    for number in range(5):  # warms up, captures, replays
        seed = torch.tensor([number, number + 1])
        noisy, marginals = compiled(labels, seed)
        alike(noisy, NOISE(LABELS * 2, seed=seed) * 3)
        expected = FIELD.marginals(LABELS > 0) * 0.5
        torch.testing.assert_close(marginals.cpu(), expected, atol=1e-6, rtol=0)


def test_a_generator_of_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^generator must be one of the CPU, got one of cuda"):
        NOISE(LABELS.cuda(), generator=torch.Generator("cuda"))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_makes_the_same_noise(workers: int) -> None:
    items = [{"label": one, "id": i} for i, one in enumerate([*LABELS] * 4)]
    cpu = NoisyLabelLoader(items, NOISE, "label", batch_size=3)
    options: dict[str, Any] = {"batch_size": 3, "num_workers": workers, "clean_key": "clean"}
    cuda = NoisyLabelLoader(items, NOISE, "label", device="cuda", **options)
    for _ in range(2):
        for found, expected in zip(cuda, cpu, strict=True):
            alike(found["label"], expected["label"])
            assert found["clean"].is_cuda
            assert found["id"].tolist() == expected["id"].tolist()
