"""The registered operators: opcheck, compile, export, fake tensors; and the gradients."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gfnoise
from gfnoise import GaussianField

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from gfnoise.torch import LabelNoise, _gradients, _operators  # noqa: E402

RNG = np.random.default_rng(1)
FIELD = GaussianField(1.5, 4.0, ndim=2)
ITEMS = GaussianField([[1.0], [2.0]], 4.0, spacing="unit", ndim=2)
LABELS = torch.from_numpy((RNG.random((2, 9, 11)) < 0.4).astype(np.uint8))
MAPS = torch.from_numpy(RNG.random((2, 9, 11), np.float32))
MOVE = torch.from_numpy(RNG.normal(0, 2, (2, 3, 2, 9, 11)).astype(np.float32))
POINTS = torch.from_numpy(RNG.uniform(-2, 12, (2, 7)))
SEEDS = torch.tensor([3, 4])
PLAIN = _operators._plain(FIELD)
FILTER = ([1.0, 2.0], [1, 2], "nearest,mirror", 0.0, 4.0, None, None)

OPERATORS: dict[str, tuple[Any, ...]] = {
    "sample_labels": (LABELS, SEEDS, *PLAIN, 2, 1, "nearest", 0, None),
    "marginals": (LABELS, *PLAIN, 3, "integrated", "constant", 0, None),
    "warp_labels": (LABELS, MOVE, 0, "constant", 0, None),
    "gaussian_filter": (MAPS.clone().requires_grad_(), *FILTER),
    "map_coordinates": (
        MAPS.clone().requires_grad_(),
        POINTS.clone().requires_grad_(),
        *(1, "nearest", 0.0, None),
    ),
    "optimal_threshold": (MAPS, "dice", 2, 1.0, None, None),
    "optimal_segmentation": (MAPS, "volume", 2, 1.0, 0.25, None, "first"),
    "score": (LABELS, MAPS, "iou", 2, 1.0),
    "label_noise": (LABELS, SEEDS, [0.5, 2.0], [3.0, 5.0], [1.0, 2.0], 2, 0.5, 0, "nearest", None),
}
FAKE = ("test_schema", "test_faketensor")


def transposed(one: Any) -> Any:
    """A tensor whose last axis is not the fastest in memory."""
    if not isinstance(one, torch.Tensor) or one.dim() < 2:
        return one
    return one.detach().transpose(-1, -2).contiguous().transpose(-1, -2)


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "sample_labels": lambda labels, maps: FIELD.sample_labels(labels, seed=[3, 4], n=2),
    "sample_labels, one seed": lambda labels, maps: ITEMS.sample_labels(labels, seed=7),
    "sample_labels, tensor": lambda labels, maps: FIELD.sample_labels(labels, seed=SEEDS),
    "sample_labels, out": lambda labels, maps: FIELD.sample_labels(
        labels, seed=[3, 4], out=torch.zeros_like(labels)
    ),
    "marginals": lambda labels, maps: ITEMS.marginals(labels, num_classes=2),
    "warp_labels": lambda labels, maps: gfnoise.warp_labels(labels, MOVE, order=1),
    "gaussian_filter": lambda labels, maps: gfnoise.gaussian_filter(
        maps, 1.0, axes=(1, -1), mode=("wrap", "mirror"), output=torch.float64
    ),
    "map_coordinates": lambda labels, maps: gfnoise.map_coordinates(maps, POINTS, order=0),
    "optimal_threshold": lambda labels, maps: gfnoise.optimal_threshold(maps, ndim=2),
    "optimal_segmentation": lambda labels, maps: gfnoise.optimal_segmentation(maps, ndim=2),
    "score": lambda labels, maps: gfnoise.score(labels, maps, ndim=2),
}


def test_every_operator_is_checked() -> None:
    defined = {name.partition("::")[2] for name in torch._C._dispatch_get_all_op_names()
               if name.startswith("gfnoise::")}  # fmt: skip
    assert defined == set(OPERATORS)


@pytest.mark.parametrize("name", _operators._TRACED)
def test_what_is_traced_has_the_arguments_of_the_function(name: str) -> None:
    """The same names, in the same order, of the same kinds and defaults."""
    method = hasattr(GaussianField, name)
    public = getattr(GaussianField if method else gfnoise, name)
    expected, found = (
        [(one.name, one.kind, one.default) for one in inspect.signature(made).parameters.values()]
        for made in (public, _operators._TRACED[name])
    )
    assert found[method:] == expected[method:]  # but for `self`


@pytest.mark.skipif(
    not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this torch captures whole graphs or none"
)
@pytest.mark.parametrize("name", OPERATORS)
def test_no_operator_is_captured_by_a_compiler(name: str) -> None:
    """Its scratch memory would be freed with the graph's, and the host's seeds be frozen."""
    assert torch.Tag.cudagraph_unsafe in getattr(torch.ops.gfnoise, name).default.tags


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_pass_torchs_own_check(name: str) -> None:
    operator = getattr(torch.ops.gfnoise, name).default
    torch.library.opcheck(operator, OPERATORS[name])
    # Results lie in memory as the fakes say, however the arguments lie.
    torch.library.opcheck(operator, tuple(map(transposed, OPERATORS[name])), test_utils=FAKE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_operators_give_the_same(name: str) -> None:
    torch._dynamo.reset()
    function = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    expected = function(LABELS, MAPS)
    assert torch.equal(compiled(LABELS, MAPS), expected)
    # Of another size: shapes may be symbols.
    labels, maps = LABELS.repeat(1, 2, 1), MAPS.repeat(1, 2, 1)
    if name != "warp_labels":
        assert torch.equal(compiled(labels, maps), function(labels, maps))


@pytest.mark.parametrize("output", ["float64", "f4", np.float64, np.dtype("float32"), float])
def test_compiled_with_dtypes_of_numpy(output: Any) -> None:
    torch._dynamo.reset()

    def function(maps: Any, output: Any) -> Any:
        smooth = gfnoise.gaussian_filter(maps, 1.0, output=output)
        return smooth, gfnoise.map_coordinates(maps, POINTS, output=output)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for dtype in (output, "float64", "float32"):  # another is not taken for the first
        for found, expected in zip(compiled(MAPS, dtype), function(MAPS, dtype), strict=True):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("int8", "output must be of dtype float32 or float64, got int8"),
        (np.str_, "output must be of a dtype that torch has, got <U0"),
        ("nothing", "output must be a dtype, got 'nothing'"),
    ],
)
def test_compiled_with_dtypes_of_no_result(output: Any, message: str) -> None:
    torch._dynamo.reset()

    def function(maps: Any) -> Any:
        return gfnoise.gaussian_filter(maps, 1.0, output=output)

    for one in (function, torch.compile(function, backend="aot_eager")):
        with pytest.raises(TypeError, match=message):
            one(MAPS)


class Pipeline(torch.nn.Module):
    """What a training step does with labels."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = LabelNoise((0.5, 2.0), 4.0, ndim=2, p=0.8)

    def forward(self, labels: Any, maps: Any, seeds: Any) -> Any:
        noisy = self.noise(labels, seed=seeds)
        smooth = gfnoise.gaussian_filter(maps + FIELD.marginals(noisy), 1.0, axes=(1, 2)) / 2
        return noisy, gfnoise.optimal_segmentation(smooth, ndim=2)


def test_an_exported_program_gives_the_same() -> None:
    module = Pipeline()
    expected = module(LABELS, MAPS, SEEDS)
    exported = torch.export.export(module, (LABELS, MAPS, SEEDS))
    for found, wanted in zip(exported.module()(LABELS, MAPS, SEEDS), expected, strict=True):
        assert torch.equal(found, wanted)
    assert "gfnoise.label_noise" in exported.graph_module.code


def test_compiled_module_and_its_default_seed() -> None:
    torch._dynamo.reset()
    noise = LabelNoise((0.5, 2.0), (3.0, 4.0), ndim=2)
    compiled = torch.compile(noise, fullgraph=True, backend="aot_eager")
    torch.manual_seed(5)
    expected = [noise(LABELS) for _ in range(3)]
    torch.manual_seed(5)
    found = [compiled(LABELS) for _ in range(3)]
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(compiled(LABELS, seed=9), noise(LABELS, seed=9))
    with pytest.raises(Exception, match="generator"):
        compiled(LABELS, generator=torch.Generator())


def test_a_compiled_gradient() -> None:
    torch._dynamo.reset()

    def loss(maps: Any) -> Any:
        return gfnoise.gaussian_filter(maps, 2.0, mode="nearest").pow(2).sum()

    maps = MAPS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(maps), maps)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(maps), maps)
    torch.testing.assert_close(found, expected)

    def mapped(maps: Any, points: Any) -> Any:
        return gfnoise.map_coordinates(maps, points, mode="mirror").pow(2).sum()

    given = maps, POINTS.clone().requires_grad_()
    compiled = torch.compile(mapped, fullgraph=True, backend="aot_eager")
    for one, wanted in zip(
        torch.autograd.grad(compiled(*given), given),
        torch.autograd.grad(mapped(*given), given),
        strict=True,
    ):
        torch.testing.assert_close(one, wanted)


@pytest.mark.filterwarnings("ignore:Error detected in:UserWarning")  # torch's, with a traceback
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_score_has_no_gradient(backend: str) -> None:
    torch._dynamo.reset()
    maps = MAPS.clone().requires_grad_()
    for function in (
        lambda maps: gfnoise.score(LABELS, maps, ndim=2).sum(),
        lambda maps: gfnoise.optimal_threshold(maps, ndim=2).sum(),
    ):
        with pytest.raises(Exception, match=r"thresholds and scores have no gradient"):
            torch.compile(function, fullgraph=True, backend=backend)(maps).backward()


def test_fake_and_meta_tensors() -> None:
    for name, function in FUNCTIONS.items():
        if name in ("sample_labels, tensor", "warp_labels", "map_coordinates"):
            continue
        expected = function(LABELS, MAPS)
        found = function(LABELS.to("meta"), MAPS.to("meta"))
        assert (found.shape, found.dtype, found.device.type) == (
            *(expected.shape, expected.dtype),
            "meta",
        )
        with FakeTensorMode() as mode:
            fake = function(mode.from_tensor(LABELS), mode.from_tensor(MAPS))
        assert (fake.shape, fake.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize(
    ("function", "input", "places"),
    [
        (gfnoise.map_coordinates, MAPS, (4, 5)),
        (gfnoise.map_coordinates, MAPS, (0, 5)),
        (gfnoise.map_coordinates, MAPS, ()),
        (gfnoise.map_coordinates, MAPS[0, 0], (2, 5)),
        (gfnoise.warp_labels, LABELS, (2, 3, 9, 11)),
        (gfnoise.warp_labels, LABELS, (2, 2, 9, 12)),
        (gfnoise.warp_labels, LABELS, ()),
    ],
)
def test_places_of_no_such_space_are_refused_without_memory(
    function: Any, input: Any, places: tuple[int, ...]
) -> None:
    """In the words that arrays of memory are refused in."""
    with pytest.raises(ValueError, match=r"must be of shape \(") as expected:
        function(input, torch.zeros(places))
    message = f"^{re.escape(str(expected.value))}$"
    with pytest.raises(ValueError, match=message):
        function(input.to("meta"), torch.zeros(places, device="meta"))
    with FakeTensorMode() as mode, pytest.raises(ValueError, match=message):
        function(mode.from_tensor(input), torch.zeros(places))


@pytest.mark.parametrize("ranges", [((0.5, 2.0), (3.0, 5.0)), (1.0, 4.0)], ids=str)
def test_label_noise_without_memory(ranges: tuple[Any, Any]) -> None:
    """Also of fake tensors on CUDA, where there is none."""
    noise, batch = LabelNoise(*ranges, ndim=2), LABELS[:, None]
    assert noise(batch.to("meta"), seed=[3, 4]).shape == batch.shape
    with FakeTensorMode() as mode:
        elsewhere = torch.empty(batch.shape, dtype=torch.uint8, device="cuda")
        for fake in (mode.from_tensor(batch), elsewhere):
            noisy = noise(fake, seed=[3, 4])
            assert (noisy.shape, noisy.dtype, noisy.device) == (fake.shape, fake.dtype, fake.device)


def test_what_cannot_be_traced_says_so() -> None:
    meta = LABELS.to("meta")
    with pytest.raises(NotImplementedError, match=r"^sample_labels of a window has no operator"):
        FIELD.sample_labels(meta, seed=1, window=(slice(4), slice(4)))
    with pytest.raises(
        NotImplementedError, match=r"^displacement has no operator: it cannot be com"
    ):
        FIELD.displacement((3, 4), seed=1, like=meta)


# ------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror", "wrap"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_gradient_of_the_filter(mode: str, size: int) -> None:
    x = torch.rand(size, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    for sigma in (0.6, 3.0, (0.0, 1.5)):

        def smooth(x: Any, sigma: Any = sigma) -> Any:
            return gfnoise.gaussian_filter(x, sigma, mode=mode, cval=2.0)

        assert torch.autograd.gradcheck(smooth, x)
    assert torch.autograd.gradgradcheck(smooth, x)


def test_gradient_of_the_filter_with_its_options() -> None:
    x = torch.rand(3, 4, 5, dtype=torch.float64).requires_grad_()
    for options in (
        {"axes": (2, 0), "mode": ("nearest", "mirror"), "radius": (4, 2)},
        {"axes": 1, "truncate": 1.5, "mode": "grid-mirror"},
        {"radius": 7, "mode": ["grid-wrap", "grid-constant", "nearest"]},
    ):
        check = torch.autograd.gradcheck
        assert check(lambda x, o=options: gfnoise.gaussian_filter(x, 1.2, **o), x)


def test_gradients_of_other_dtypes() -> None:
    for dtype in (torch.float16, torch.float32):
        x = MAPS.to(dtype, copy=True).requires_grad_()
        gfnoise.gaussian_filter(x, 1.0).sum().backward()
        assert x.grad.dtype == dtype
    y = MAPS.clone().requires_grad_()
    gfnoise.gaussian_filter(y, 1.0, output=torch.float64).sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


MODES = ["constant", "grid-constant", "nearest", "reflect", "grid-mirror", "mirror", "wrap"]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("mode", [*MODES, "grid-wrap"])
def test_gradients_of_the_interpolation(mode: str, order: int) -> None:
    generator = torch.Generator().manual_seed(2)
    for shape in ((5, 6), (2, 4, 3, 1), (4,)):
        axes = min(3, len(shape))
        x = torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
        points = 16 * torch.rand(axes, 2, 5, dtype=torch.float64, generator=generator) - 6
        points.requires_grad_()

        def mapped(x: Any, points: Any) -> Any:
            return gfnoise.map_coordinates(x, points, order=order, mode=mode, cval=1.5)

        assert torch.autograd.gradcheck(mapped, (x, points))
    assert torch.autograd.gradgradcheck(mapped, (x, points))


@pytest.mark.parametrize("mode", ["reflect", "nearest", "mirror"])
def test_gradients_of_what_is_empty(mode: str) -> None:
    for shape, points in (((0, 4, 4), (2, 5)), ((3, 4, 4), (2, 0)), ((0, 4), (2, 0))):
        image = torch.zeros(shape, requires_grad=True)
        at = torch.zeros(points, requires_grad=True)
        gfnoise.map_coordinates(image, at, mode=mode).sum().backward()
        assert image.grad.shape == image.shape
        assert not at.grad.any()
        smooth = torch.zeros(shape, requires_grad=True)
        gfnoise.gaussian_filter(smooth, 1.0, mode=mode).sum().backward()
        assert smooth.grad.shape == smooth.shape


@pytest.mark.parametrize(("sigma", "radius"), [(1e4, None), (2e3, 30_000), (0.3, 30_000)])
def test_gradient_of_a_filter_far_wider_than_the_image(sigma: float, radius: int | None) -> None:
    """No more work than with a narrow one: what is outside is one number."""
    image = torch.rand(4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: gfnoise.gaussian_filter(x, sigma, mode="nearest", radius=radius), image
    )


@pytest.mark.parametrize("radius", [1, 4, 5, 6, 40])
def test_gradient_of_nearest_at_each_radius(radius: int) -> None:
    """Also where the taps end inside the image; exactly the transpose."""
    rows = torch.eye(5, dtype=torch.float64).requires_grad_()
    matrix = gfnoise.gaussian_filter(rows, 2.5, axes=1, radius=radius, mode="nearest")
    weights = torch.rand(5, 5, dtype=torch.float64)
    (found,) = torch.autograd.grad(matrix, rows, weights)
    torch.testing.assert_close(found, weights @ matrix.detach().T, rtol=1e-14, atol=1e-15)


FAR = [1e6, 2e14, 0.4e15 + 0.5, 2e15, 1e300, np.inf]
STEPS = np.arange(-60, 61) / 4  # periods of five voxels, and quarters
GRID = np.concatenate([STEPS, STEPS + 2**-40, STEPS - 2**-40, FAR, np.negative(FAR)])


def responses(space: tuple[int, ...], points: Any, **options: Any) -> Any:
    """What each voxel adds to the value of each point: (voxels, points)."""
    units = np.eye(math.prod(space)).reshape(-1, *space)
    return gfnoise.map_coordinates(units, points, **options)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("mode", [*MODES, "grid-wrap"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_gradient_goes_where_the_values_came_from(size: int, mode: str, order: int) -> None:
    """Also at voxels, halfway between them and far outside: exactly."""
    image = torch.arange(1.0, size + 1, dtype=torch.float64).requires_grad_()
    points = torch.from_numpy(GRID)[None]
    values = gfnoise.map_coordinates(image, points, order=order, mode=mode)
    found = [torch.autograd.grad(one, image, retain_graph=True)[0] for one in values]
    expected = responses((size,), GRID[None], order=order, mode=mode)
    np.testing.assert_array_equal(torch.stack(found, 1).numpy(), expected)
    torch.testing.assert_close(image.detach() @ torch.stack(found, 1), values.detach())


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("mode", [*MODES, "grid-wrap"])
def test_gradients_at_the_grid_in_two_axes(mode: str, order: int) -> None:
    """A point is lost with any of its coordinates."""
    rng = np.random.default_rng(3)
    points = torch.from_numpy(rng.choice(GRID, (2, 400))).requires_grad_()
    image = torch.from_numpy(rng.random((3, 4))).requires_grad_()
    weights = torch.from_numpy(rng.integers(1, 9, 400) / 1.0)
    options: dict[str, Any] = {"order": order, "mode": mode}
    mapped = gfnoise.map_coordinates(image, points, **options, cval=7.0)
    to_image, to_points = torch.autograd.grad(mapped, (image, points), weights)
    expected = responses((3, 4), points.detach().numpy(), **options) @ weights.numpy()
    np.testing.assert_allclose(to_image.numpy().reshape(-1), expected, rtol=1e-13)
    assert to_points.isfinite().all()


def test_what_is_lost_has_no_gradient() -> None:
    """A voxel that is NaN gives none to points that do not see it; a point that is NaN has none."""
    image = torch.tensor([np.nan, 2.0, 5.0], dtype=torch.float64)
    for mode in ("constant", "reflect", "grid-wrap"):
        points = torch.tensor([[1.25, -3e15, np.inf]], dtype=torch.float64).requires_grad_()
        gfnoise.map_coordinates(image, points, mode=mode).sum().backward()
        assert points.grad.tolist() == [[3.0, 0.0, 0.0]]
    for mode in [*MODES, "grid-wrap"]:  # refused on the CPU, and `cval` on a device
        _, _, lost = _gradients._fold(torch.tensor([np.nan, 1.0]), 3, mode)
        assert lost.tolist() == [True, False]


@pytest.mark.parametrize("mode", [*MODES, "grid-wrap"])
def test_slopes_at_the_grid_are_those_of_a_side(mode: str) -> None:
    """Where a curve has a kink or a jump, the slope is the one before it or behind it."""
    image = torch.tensor([3.0, 7.0, 4.0, 9.0, 1.0], dtype=torch.float64)
    points = torch.arange(-44, 45, dtype=torch.float64)[None] / 4
    points.requires_grad_()
    options: dict[str, Any] = {"mode": mode, "cval": 2.0}
    (slopes,) = torch.autograd.grad(gfnoise.map_coordinates(image, points, **options).sum(), points)
    at, step = points.detach(), 2.0**-20
    here, before, behind = (
        gfnoise.map_coordinates(image, at + shift, **options) for shift in (0.0, -step, step)
    )
    sides = torch.stack([here - before, behind - here]) / step
    assert ((sides - slopes).abs() < 1e-8).any(0).all()


def test_functorch_is_refused() -> None:
    def smooth(x: Any) -> Any:
        return gfnoise.gaussian_filter(x, 1.0).sum()

    for transform in (torch.vmap, torch.func.grad):
        match = r"^gaussian_filter takes no .*torch\.vmap.*torch\.func: leading axes are a batch"
        with pytest.raises(NotImplementedError, match=match):
            transform(smooth)(MAPS)
    with pytest.raises(
        NotImplementedError, match=r"^sample_labels takes no tensors of torch\.vmap"
    ):
        torch.vmap(lambda one: FIELD.sample_labels(one, seed=1))(LABELS)
    with pytest.raises(
        NotImplementedError, match=r"^sample_labels takes no tensors of torch\.vmap"
    ):
        torch.vmap(lambda one: LabelNoise(2.0, 5.0, ndim=2)(one, seed=1))(LABELS[None])


@pytest.mark.filterwarnings("ignore")  # torch.jit's, of what is constant indeed: checks, seeds
def test_what_torch_jit_traces_is_no_constant() -> None:
    one, other = torch.rand(2, 8, 9, generator=torch.Generator().manual_seed(0))
    for function in (
        lambda image: gfnoise.gaussian_filter(image, 1.0),
        lambda image: gfnoise.optimal_segmentation(image),
        lambda image: LabelNoise(2.0, 3.0, ndim=2)((image > 0.5)[None].to(torch.uint8), seed=[3]),
    ):
        traced = torch.jit.trace(function, one)
        assert torch.equal(traced(other), function(other))
        assert not torch.equal(traced(other), function(one))
    with pytest.raises(NotImplementedError, match=r"^svls has no operator"):
        torch.jit.trace(lambda image: gfnoise.svls((image > 0.5).to(torch.uint8), 2, ndim=2), one)
