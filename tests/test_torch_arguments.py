"""With a gradient, compiled or neither: a function takes the same arguments and says the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gfnoise

torch = pytest.importorskip("torch")

IMAGE = torch.from_numpy(np.random.default_rng(0).random((4, 4), np.float32))
POINTS = torch.from_numpy(np.random.default_rng(1).uniform(-1, 4, (2, 5)).astype(np.float32))

GOOD: dict[str, list[dict[str, Any]]] = {
    "gaussian_filter": [
        {"sigma": 1},
        {"sigma": np.float32(1.5)},
        {"sigma": np.array([1.0, 2.0])},
        {"sigma": (0, 2.0)},
        {"sigma": 0.0, "mode": "nearest"},
        {"sigma": [1.0], "axes": -1},
        {"sigma": [], "axes": ()},
        {"sigma": 1.0, "axes": [1, 0], "mode": ("wrap", "nearest")},
        {"sigma": 1.0, "axes": 0, "mode": ["grid-mirror"], "radius": [2]},
        {"sigma": 1.0, "mode": np.str_("grid-constant"), "cval": np.float32(2.0)},
        {"sigma": 1.0, "mode": "constant", "cval": 3},
        {"sigma": 1.0, "radius": np.array([1, 3])},
        {"sigma": 1.0, "radius": np.int64(2), "truncate": 0},
        {"sigma": 1.0, "truncate": np.float64(2.0)},
        {"sigma": 1.0, "output": "float64"},
        {"sigma": 1.0, "output": np.float64},
        {"sigma": 1.0, "output": np.dtype("float32")},
        {"sigma": 1.0, "output": float},
        {"sigma": 1.0, "output": torch.float64},
    ],
    "map_coordinates": [
        {"order": np.int64(1)},
        {"order": 0, "mode": "grid-mirror"},
        {"mode": np.str_("grid-constant"), "cval": np.float32(2.0)},
        {"mode": "constant", "cval": 3},
        {"output": "float64"},
        {"output": np.float16},
        {"output": np.dtype("int16")},
        {"output": bool},
        {"output": torch.uint8},
    ],
}
BAD: dict[str, list[dict[str, Any]]] = {
    "gaussian_filter": [
        {},
        {"sigma": None},
        {"sigma": "1"},
        {"sigma": np.array(0.5)},
        {"sigma": True},
        {"sigma": -1.0},
        {"sigma": float("nan")},
        {"sigma": [1.0]},
        {"sigma": [1.0, 2.0, 3.0]},
        {"sigma": np.ones((2, 2))},
        {"sigma": torch.tensor(1.0)},
        {"sigma": torch.tensor([1.0, 2.0])},
        {"sigma": 1.0, "axes": 2},
        {"sigma": 1.0, "axes": (0, -2)},
        {"sigma": 1.0, "axes": 0.0},
        {"sigma": 1.0, "axes": np.array([0, 1])},
        {"sigma": 1.0, "mode": None},
        {"sigma": 1.0, "mode": "zero"},
        {"sigma": 1.0, "mode": ["wrap"]},
        {"sigma": 1.0, "mode": "wrap,nearest"},
        {"sigma": 1.0, "mode": ("wrap", 3)},
        {"sigma": 1.0, "cval": torch.tensor(1.0)},
        {"sigma": 1.0, "cval": float("inf")},
        {"sigma": 1.0, "truncate": -1},
        {"sigma": 1.0, "truncate": "4"},
        {"sigma": 1.0, "radius": 1.5},
        {"sigma": 1.0, "radius": [1]},
        {"sigma": 1.0, "radius": -1},
        {"sigma": 1e9},
        {"sigma": 1.0, "output": torch.float16},
        {"sigma": 1.0, "output": torch.bfloat16},
        {"sigma": 1.0, "output": ">f8"},
        {"sigma": 1.0, "output": "no dtype"},
        {"sigma": 1.0, "output": torch.zeros(4, 3)},
        {"sigma": 1.0, "output": torch.zeros(4, 4, dtype=torch.int64)},
        {"sigma": 1.0, "output": torch.zeros(4).expand(4, 4)},
        {"sigma": 1.0, "output": torch.zeros(4, 4, device="meta")},
        {"sigma": 1.0, "prefilter": False},
    ],
    "map_coordinates": [
        {"order": True},
        {"order": 1.0},
        {"order": "1"},
        {"order": 3},
        {"mode": None},
        {"mode": ["wrap"]},
        {"mode": "zero"},
        {"cval": torch.tensor(1.0)},
        {"cval": None},
        {"cval": float("nan")},
        {"output": np.complex64},
        {"output": torch.complex64},
        {"output": torch.bfloat16},
        {"output": ">f4"},
        {"output": "no dtype"},
        {"output": torch.zeros(4)},
        {"output": torch.zeros(5, dtype=torch.complex64)},
        {"prefilter": False},
    ],
}


def cases(table: dict[str, list[dict[str, Any]]]) -> list[Any]:
    return [
        pytest.param(name, options, id=f"{name}-{options}"[:80].replace("\n", " "))
        for name, listed in table.items()
        for options in listed
    ]


def called(name: str, options: dict[str, Any], *, gradient: bool) -> Any:
    image = IMAGE.clone().requires_grad_(gradient)
    arrays = (image,) if name == "gaussian_filter" else (image, POINTS)
    output = options.get("output")
    if isinstance(output, torch.Tensor) and output.device.type == "cpu":
        options = options | {"output": output.clone() if output.is_contiguous() else output}
    return getattr(gfnoise, name)(*arrays, **options)


@pytest.mark.parametrize(("name", "options"), cases(GOOD))
def test_what_is_taken_without_a_gradient_is_taken_with_one(
    name: str, options: dict[str, Any]
) -> None:
    expected = called(name, options, gradient=False)
    found = called(name, options, gradient=True)
    assert found.requires_grad == found.is_floating_point()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.equal(found.detach(), expected)
    if found.requires_grad:
        found.sum().backward()


@pytest.mark.parametrize(("name", "options"), cases(BAD))
def test_what_is_refused_without_a_gradient_is_refused_with_one(
    name: str, options: dict[str, Any]
) -> None:
    def refusal(gradient: bool) -> tuple[type[Exception], str]:
        with pytest.raises((TypeError, ValueError)) as caught:
            called(name, options, gradient=gradient)
        return caught.type, str(caught.value)

    assert refusal(gradient=True) == refusal(gradient=False)


FUNCTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: gfnoise.gaussian_filter(IMAGE, 1, axes=[0], mode=["wrap"]), "whole"),
    (lambda: gfnoise.gaussian_filter(IMAGE, (1, 2.0), output=torch.float64), "whole"),
    (lambda: gfnoise.gaussian_filter(IMAGE, [0, 2.0], radius=(1, 2), mode="nearest"), "whole"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, cval=2, output=torch.int16), "whole"),
    (lambda: gfnoise.gaussian_filter(IMAGE, np.array([1.0, 2.0])), "broken"),
    (lambda: gfnoise.gaussian_filter(IMAGE, 1.0, output="float64"), "broken"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, output=np.float64), "broken"),
    (lambda: gfnoise.gaussian_filter(IMAGE, [1.0]), "refused"),
    (lambda: gfnoise.gaussian_filter(IMAGE, -1.0), "refused"),
    (lambda: gfnoise.gaussian_filter(IMAGE, 1.0, mode="wrap,nearest"), "refused"),
    (lambda: gfnoise.gaussian_filter(IMAGE, 1.0, radius=[1]), "refused"),
    (lambda: gfnoise.gaussian_filter(IMAGE, torch.tensor(1.0)), "refused"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, order=True), "refused"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, order=1.0), "refused"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, mode=None), "refused"),
    (lambda: gfnoise.map_coordinates(IMAGE, POINTS, cval=torch.tensor(1.0)), "refused"),
]


@pytest.mark.parametrize(("function", "fate"), FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_compiled_calls_take_what_others_take(function: Callable[[], Any], fate: str) -> None:
    """One graph, or a break where settings are NumPy's; refusals are in the same words."""
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="eager", fullgraph=fate == "whole")
    if fate != "refused":
        assert torch.equal(compiled(), function())
        return
    with pytest.raises((TypeError, ValueError)) as expected:
        function()
    with pytest.raises(expected.type, match=re.escape(str(expected.value))):
        compiled()


def test_a_number_that_changes_is_compiled() -> None:
    torch._dynamo.reset()

    def smooth(image: Any, sigma: Any) -> Any:
        return gfnoise.gaussian_filter(image, (sigma, 1.0)) + gfnoise.map_coordinates(
            image, image[:2, :1] * sigma, cval=sigma
        )

    compiled = torch.compile(smooth, fullgraph=True, backend="aot_eager")
    for sigma in (1.0, 1.5, 2.5):
        assert torch.equal(compiled(IMAGE, sigma), smooth(IMAGE, sigma))
