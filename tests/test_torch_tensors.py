"""Tensors in the functions of arrays: the same values, the same memory, and clear refusals."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gfnoise
import gfnoise.metrics
from gfnoise import GaussianField

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
FIELD = GaussianField(1.5, 4.0, ndim=2)
LABELS = (RNG.random((2, 9, 11)) < 0.4).astype(np.uint8)
MAPS = RNG.random((2, 9, 11), np.float32)
MOVE = RNG.normal(0, 2, (2, 2, 9, 11)).astype(np.float32)
POINTS = RNG.uniform(-2, 12, (2, 7))
DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
DTYPES += [torch.uint16, torch.uint32, torch.uint64]

# Every public function: its name, arrays by name, and other arguments.
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "sample_labels": (FIELD.sample_labels, {"labels": LABELS}, {"seed": [3, 4], "order": 1}),
    "sample_labels, n": (FIELD.sample_labels, {"labels": LABELS}, {"seed": 3, "n": 2}),
    "marginals": (FIELD.marginals, {"labels": LABELS}, {"num_classes": 3}),
    "warp_labels": (gfnoise.warp_labels, {"labels": LABELS, "displacement": MOVE}, {"cval": 1}),
    "gaussian_filter": (gfnoise.gaussian_filter, {"input": MAPS}, {"sigma": (0, 1, 2)}),
    "map_coordinates": (gfnoise.map_coordinates, {"input": MAPS, "coordinates": POINTS}, {}),
    "optimal_threshold": (gfnoise.optimal_threshold, {"marginals": MAPS}, {"ndim": 2}),
    "optimal_segmentation": (gfnoise.optimal_segmentation, {"marginals": MAPS}, {"ndim": 2}),
    "score": (gfnoise.score, {"segmentation": LABELS, "marginals": MAPS}, {}),
}
WITH_OUT = [name for name in CASES if name.partition(",")[0] not in ("optimal_threshold", "score")]


def tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def place(name: str) -> str:
    """The name of a function's argument for its result."""
    return "output" if name in ("gaussian_filter", "map_coordinates") else "out"


def same(result: Any, expected: Any) -> None:
    assert type(result) is torch.Tensor
    expected = np.asarray(expected)
    assert (result.numpy().dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result.numpy(), expected)


# -------------------------------------------------------------------------------- values


@pytest.mark.parametrize("name", CASES)
def test_tensors_in_tensors_out(name: str) -> None:
    function, arrays, options = CASES[name]
    expected = function(**arrays, **options)
    assert isinstance(expected, (np.ndarray, np.generic))
    same(function(**tensors(arrays), **options), expected)
    with torch.inference_mode():
        same(function(**tensors(arrays), **options), expected)
    with torch.no_grad():
        same(function(*tensors(arrays).values(), **options), expected)  # by position


@pytest.mark.parametrize("name", CASES)
def test_views_and_subclasses(name: str) -> None:
    """Transposed, strided and offset memory; classes of tensors give plain tensors."""
    function, arrays, options = CASES[name]
    expected = function(**arrays, **options)

    class Labelled(torch.Tensor):
        pass

    for change in (
        lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
        lambda t: torch.stack([t, t], -1)[..., 1],
        lambda t: torch.cat([t[:1], t])[1:],
        lambda t: t.as_subclass(Labelled),
        lambda t: torch.nn.Parameter(t, requires_grad=False),
    ):
        changed = {key: change(one) for key, one in tensors(arrays).items()}
        same(function(**changed, **options), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels_of_any_dtype_are_taken(dtype: Any) -> None:
    labels = torch.from_numpy(LABELS).to(dtype)
    noisy = FIELD.sample_labels(labels, seed=1)
    assert noisy.dtype == dtype
    same(noisy, FIELD.sample_labels(labels.numpy(), seed=1))


def test_expanded_tensors_are_taken() -> None:
    labels = torch.from_numpy(LABELS[0]).expand(3, 9, 11)
    same(FIELD.sample_labels(labels, seed=1), FIELD.sample_labels(labels.numpy(), seed=1))


@pytest.mark.parametrize("shape", [(0, 9, 11), (2, 0, 11), (2, 9, 0)])
def test_empty_tensors_stay_empty(shape: tuple[int, ...]) -> None:
    assert FIELD.sample_labels(torch.zeros(shape, dtype=torch.int16), seed=0).shape == shape
    assert gfnoise.gaussian_filter(torch.zeros(shape), 1.0).shape == shape


def test_seeds_of_any_kind() -> None:
    labels = torch.from_numpy(LABELS)
    expected = FIELD.sample_labels(LABELS, seed=[3, 4])
    for seed in (torch.tensor([3, 4]), np.array([3, 4]), (3, 4)):
        same(FIELD.sample_labels(labels, seed=seed), expected)
    same(FIELD.sample_labels(labels, seed=torch.tensor(3)), FIELD.sample_labels(LABELS, seed=3))
    # Beside an array, seeds do not make a tensor of the result.
    found = FIELD.sample_labels(LABELS, seed=torch.tensor([3, 4]))
    assert isinstance(found, np.ndarray)
    for seed in (5, [5, 6]):
        moved = FIELD.displacement((3, 4), seed=torch.tensor(seed))
        same(moved, FIELD.displacement((3, 4), seed=seed))


def test_tuples_of_results() -> None:
    found = gfnoise.volume_range(torch.from_numpy(MAPS), ndim=2)
    expected = gfnoise.volume_range(MAPS, ndim=2)
    assert type(found) is type(expected)
    for one, wanted in zip(found[:3], expected[:3], strict=True):
        same(one, wanted)
    assert found.voxels == expected.voxels
    masks, labels = torch.from_numpy(LABELS), torch.from_numpy(LABELS)
    sampled = gfnoise.expected_score(masks, labels, FIELD, n=3, seed=torch.tensor([1, 2]))
    same(sampled.mean, gfnoise.expected_score(LABELS, LABELS, FIELD, n=3, seed=[1, 2]).mean)
    volumes = np.array([0.25, 0.5])
    bounds = gfnoise.volume_bounds(torch.from_numpy(volumes))
    for one, wanted in zip(bounds, gfnoise.volume_bounds(volumes), strict=True):
        same(one, wanted)
    with pytest.raises(NotImplementedError, match=r"^volume_range has no gradient"):
        gfnoise.volume_range(torch.from_numpy(MAPS).requires_grad_(), ndim=2)


@pytest.mark.parametrize("name", ["cdf", "quantile", "accuracy", "dice"])
def test_curves_at_tensors(name: str) -> None:
    """The knots are the host's; their functions give back what they are given."""
    curves = gfnoise.volume_curves(torch.from_numpy(MAPS[0]))
    expected = gfnoise.volume_curves(MAPS[0])
    for knots in ("volumes", "masses", "quantiles"):
        assert type(getattr(curves, knots)) is np.ndarray
        np.testing.assert_array_equal(getattr(curves, knots), getattr(expected, knots))
    function = getattr(curves, name)
    for at in (np.array([[0.0, 0.25], [0.5, 1.0]]), np.array(0.5), np.float32([0.125]), np.ones(0)):
        wanted = getattr(expected, name)(at)
        same(function(torch.from_numpy(at)), wanted)
        assert not isinstance(function(at), torch.Tensor)
        np.testing.assert_array_equal(function(at), wanted)
    argument = "t" if name == "cdf" else "v"
    with pytest.raises(ValueError, match=rf"^{argument} must hold values in \[0, 1\]"):
        function(torch.tensor([0.5, 1.5]))
    with pytest.raises(TypeError, match=rf"^{argument} must be numbers in \[0, 1\]"):
        function(torch.tensor([True]))
    with pytest.raises(NotImplementedError, match=rf"^{name} has no gradient: call it under"):
        function(torch.tensor([0.5], requires_grad=True))


def test_displacement_like_a_tensor() -> None:
    expected = FIELD.displacement((5, 6), 2, seed=[1, 2])
    same(FIELD.displacement((5, 6), 2, seed=[1, 2], like=torch.zeros(1)), expected)
    seeds, like = torch.tensor([1, 2]), torch.zeros(3, dtype=torch.bfloat16)
    same(FIELD.displacement((5, 6), 2, seed=seeds, like=like), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dtype_of_torch_as_output(dtype: Any) -> None:
    values = torch.from_numpy(LABELS)
    assert gfnoise.gaussian_filter(values, 1.0, output=dtype).dtype == dtype
    points = torch.from_numpy(POINTS)
    assert gfnoise.map_coordinates(values, points, output=dtype).dtype == dtype
    whole = gfnoise.map_coordinates(values, points, output=torch.int16)
    same(whole, gfnoise.map_coordinates(LABELS, POINTS, output=np.int16))


# ---------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("name", WITH_OUT)
def test_the_callers_tensor_is_filled_and_returned(name: str) -> None:
    function, arrays, options = CASES[name]
    expected = function(**arrays, **options)
    out = torch.from_numpy(np.zeros_like(expected))
    version = out._version
    assert function(**tensors(arrays), **options, **{place(name): out}) is out
    same(out, expected)
    assert out._version > version  # autograd knows that it was written to
    with torch.inference_mode():
        out = torch.zeros_like(out)
        assert function(**tensors(arrays), **options, **{place(name): out}) is out
    wide = torch.from_numpy(np.zeros((*expected.shape, 2), expected.dtype))
    assert function(**tensors(arrays), **options, **{place(name): wide[..., 1]}).shape == out.shape
    np.testing.assert_array_equal(wide[..., 1].numpy(), expected)
    assert not wide[..., 0].any()


def test_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    kernels = gfnoise._array.kernels("sample_labels", "field", labels=LABELS)
    sample = kernels.sample_labels

    def spy(labels: Any, out: Any, **options: Any) -> None:
        seen["labels"], seen["out"] = labels.ctypes.data, out.ctypes.data
        sample(labels, out, **options)

    monkeypatch.setattr(kernels, "sample_labels", spy)
    labels = torch.from_numpy(LABELS.copy())
    noisy = FIELD.sample_labels(labels, seed=1)
    assert seen == {"labels": labels.data_ptr(), "out": noisy.data_ptr()}


def test_a_result_may_be_written_to_and_outlives_its_arrays() -> None:
    noisy = FIELD.sample_labels(torch.from_numpy(LABELS), seed=1)
    before = noisy.clone()
    noisy += 1
    assert torch.equal(noisy, before + 1)


# -------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", [name for name in WITH_OUT if name != "sample_labels, n"])
def test_libraries_do_not_mix(name: str) -> None:
    function, arrays, options = CASES[name]
    out = np.zeros_like(function(**arrays, **options))
    first = next(iter(arrays))
    match = rf"^{name} takes arrays of one library, got {first} of torch, .*{place(name)} of numpy$"
    with pytest.raises(TypeError, match=match):
        function(**tensors(arrays), **options, **{place(name): out})
    assert not out.any()
    with pytest.raises(TypeError, match=f"{first} of numpy.*{place(name)} of torch"):
        function(**arrays, **options, **{place(name): torch.from_numpy(out)})
    if len(arrays) == 2:
        second = list(arrays)[1]
        mixed = arrays | {second: torch.from_numpy(arrays[second])}
        with pytest.raises(TypeError, match=f"{first} of numpy, {second} of torch"):
            function(**mixed, **options)


def test_lists_are_named_as_before() -> None:
    with pytest.raises(TypeError, match=r"^out must be a NumPy array, .*got builtins.list"):
        FIELD.sample_labels(torch.from_numpy(LABELS), seed=1, out=[0])
    with pytest.raises(TypeError, match=r"^displacement must be .*got builtins.list"):
        gfnoise.warp_labels(torch.from_numpy(LABELS), [0])


def quantized() -> Any:
    return torch.quantize_per_tensor(torch.rand(9, 11), 0.1, 0, torch.quint8)


@pytest.mark.filterwarnings("ignore")  # torch's, of quantisation and of nested tensors
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: torch.zeros(9, 11).to_sparse(), "^input must be a dense tensor, got a sparse_coo"),
        (lambda: torch.zeros(9, 11).to_sparse_csr(), "^input .*dense.*got a sparse_csr"),
        (quantized, "^input .*dense.*got a quantized"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "got a nested"),
        (lambda: torch.zeros(9, 11, dtype=torch.bfloat16), r"NumPy has, got torch\.bfloat16"),
        (lambda: torch.zeros(9, 11, dtype=torch.float8_e5m2), r"got torch\.float8_e5m2"),
        (lambda: torch.zeros(9, 11, dtype=torch.complex64), "^input must be of a real dtype"),
    ],
)
def test_tensors_without_an_array(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        gfnoise.gaussian_filter(make(), 1.0)


def test_float16_counts_as_float32() -> None:
    values = torch.from_numpy(MAPS).half()
    same(gfnoise.gaussian_filter(values, 1.0), gfnoise.gaussian_filter(values.numpy(), 1.0))


def test_negated_views_are_resolved() -> None:
    values = torch.complex(torch.zeros(9, 11), torch.from_numpy(MAPS[0])).conj().imag
    assert values.is_neg()
    same(gfnoise.gaussian_filter(values, 1.0), gfnoise.gaussian_filter(-MAPS[0], 1.0))
    with pytest.raises(ValueError, match=r"^output must not be a conjugated or negated view"):
        gfnoise.gaussian_filter(torch.from_numpy(MAPS[0]), 1.0, output=values)


def test_output_dtypes_that_numpy_lacks() -> None:
    with pytest.raises(TypeError, match=r"^output .*torch\.bfloat16"):
        gfnoise.gaussian_filter(torch.from_numpy(MAPS), 1.0, output=torch.bfloat16)


def test_errors_are_those_of_arrays() -> None:
    with pytest.raises(
        TypeError, match=r"^labels must be of bool or an integer dtype, got float32"
    ):
        FIELD.sample_labels(torch.from_numpy(MAPS), seed=0)
    with pytest.raises(ValueError, match=r"^seed must be an integer"):
        FIELD.sample_labels(torch.from_numpy(LABELS), seed=torch.tensor([-1, 2]))
    labels = torch.from_numpy(LABELS.copy())
    with pytest.raises(ValueError, match=r"^out must not share memory with labels"):
        FIELD.sample_labels(labels, seed=0, out=labels)


def test_devices_do_not_mix() -> None:
    labels = torch.from_numpy(LABELS)
    with pytest.raises(ValueError, match=r"^sample_labels takes .*got labels on cpu, out on meta"):
        FIELD.sample_labels(labels, seed=[1, 2], out=torch.empty_like(labels, device="meta"))


@pytest.mark.skipif("cupy" in sys.modules, reason="CuPy is there")
def test_cuda_tensors_without_cupy_name_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from gfnoise.torch import _tensors

    monkeypatch.setitem(sys.modules, "cupy", None)
    for version, extra in (("12.8", "cuda12"), ("13.0", "cuda13")):
        monkeypatch.setattr(torch.version, "cuda", version)
        with pytest.raises(ImportError, match=re.escape(f"pip install 'gfnoise[{extra}]'")):
            _tensors._cupy(torch.device("cuda", 0))


def test_arrays_never_import_torch() -> None:
    code = """
import sys
import numpy as np
from gfnoise import GaussianField
GaussianField(1.0, 2.0, ndim=2).sample_labels(np.zeros((4, 4), np.uint8), seed=0)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ------------------------------------------------------------------------------- gradients


def test_what_has_no_gradient_says_so() -> None:
    maps = torch.from_numpy(MAPS).requires_grad_()
    assert gfnoise.optimal_segmentation(maps, ndim=2).dtype == torch.bool  # as argmax: no gradient
    for call in (
        lambda: gfnoise.optimal_threshold(maps, ndim=2),
        lambda: gfnoise.score(torch.from_numpy(LABELS), maps),
    ):
        with pytest.raises(NotImplementedError, match=r"has no gradient: .* torch\.no_grad\(\)"):
            call()
        with torch.no_grad():
            assert not call().requires_grad
    for call in (
        lambda: gfnoise.volume_range(maps, ndim=2),
        lambda: gfnoise.volume_curves(maps),
        lambda: gfnoise.volume_bounds(maps[0, 0]),
        lambda: gfnoise.metrics.brier_score(maps, maps),
        lambda: gfnoise.metrics.reliability_curve(maps, torch.from_numpy(LABELS), ndim=2),
    ):
        with pytest.raises(NotImplementedError, match=r"has no gradient: .* torch\.no_grad\(\)"):
            call()
        with torch.no_grad():
            call()
    move = torch.from_numpy(MOVE).requires_grad_()
    assert not gfnoise.warp_labels(torch.from_numpy(LABELS), move).requires_grad


def test_outputs_and_gradients() -> None:
    maps = torch.from_numpy(MAPS).requires_grad_()
    with pytest.raises(ValueError, match=r"^marginals cannot write to a tensor that requires grad"):
        FIELD.marginals(torch.from_numpy(LABELS), out=maps)
    with pytest.raises(RuntimeError, match=r"a leaf Variable that requires grad"):  # torch's own
        gfnoise.gaussian_filter(torch.from_numpy(MAPS + 0), 1.0, output=maps)
    assert np.array_equal(maps.detach().numpy(), MAPS)
    with pytest.raises(TypeError, match=r"^gaussian_filter .*input of torch, output of numpy"):
        gfnoise.gaussian_filter(maps, 1.0, output=MAPS)
    out = torch.zeros(2, 9, 11)
    assert gfnoise.gaussian_filter(maps, 1.0, output=out) is out
    out.sum().backward()  # as after copy_
    assert maps.grad.shape == maps.shape
    with pytest.raises(ValueError, match=r"^output must not share memory with input"):
        gfnoise.gaussian_filter(maps, 1.0, output=maps.detach())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its own jit
@pytest.mark.parametrize("requires_grad", [False, True])
def test_tangents_are_not_lost(requires_grad: bool) -> None:
    """Of forward mode: with or without a gradient of the usual kind."""
    forward = torch.autograd.forward_ad
    maps = torch.from_numpy(MAPS[0])
    points = torch.from_numpy(POINTS)

    def dual(value: Any) -> Any:
        return forward.make_dual(value.clone().requires_grad_(requires_grad), value)

    with forward.dual_level():
        for call in (
            lambda: gfnoise.gaussian_filter(dual(maps), 1.0),
            lambda: gfnoise.gaussian_filter(dual(maps), 1.0, output=torch.empty(9, 11)),
            lambda: gfnoise.map_coordinates(maps, dual(points)),
            lambda: gfnoise.map_coordinates(dual(maps), points),
            lambda: gfnoise.optimal_threshold(dual(maps)),
            lambda: gfnoise.metrics.brier_score(maps, dual(maps)),
        ):
            with pytest.raises(NotImplementedError, match=r"^\w+ has no forward-mode derivative"):
                call()
        assert gfnoise.optimal_segmentation(dual(maps)).dtype == torch.bool  # as torch.argmax
        primal = forward.unpack_dual(dual(maps)).primal.detach()
        assert torch.equal(gfnoise.gaussian_filter(primal, 1.0), gfnoise.gaussian_filter(maps, 1.0))
