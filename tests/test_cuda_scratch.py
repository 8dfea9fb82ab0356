"""Scratch memory on a device: whose it is, and for how long; a stand-in for CuPy lends it."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gfnoise._cuda import _launch


class _Stream:
    """Of a stand-in for CuPy: what the launcher asks of a stream."""

    ptr, captures = 1, False

    def is_capturing(self) -> bool:
        return self.captures


class _Memory(np.ndarray):
    """An array that can be watched: whether it is still held."""


def _stand_in(monkeypatch: pytest.MonkeyPatch) -> _Stream:
    stream = _Stream()
    runtime = SimpleNamespace(getDevice=lambda: 0)
    cuda = SimpleNamespace(get_current_stream=lambda: stream, runtime=runtime)
    monkeypatch.setattr(_launch, "_memory", _launch._Memory())
    empty = lambda size, dtype: np.empty(size, dtype).view(_Memory)  # noqa: E731
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, empty=empty))
    return stream


def _scratch(name: str, size: int, dtype: type) -> Any:
    """What a call borrows on the stream that is current."""
    return _launch.CupyLauncher().scratch(name, size, dtype)


def test_scratch_memory_goes_with_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stand_in(monkeypatch)
    seen: dict[str, Any] = {}

    def work() -> None:
        first = _scratch("a", 10, np.float32)
        assert _scratch("a", 10, np.float32) is first
        assert _scratch("a", 5, np.float32).base is first
        kept = _scratch("b", 3, np.uint8)
        stream.captures = True
        assert _scratch("b", 3, np.uint8) is kept
        larger = _scratch("b", 4, np.uint8)
        assert _scratch("b", 3, np.uint8).base is larger
        stream.captures = False
        fresh = _scratch("b", 3, np.uint8)
        assert fresh is not kept  # that is the graph's
        assert fresh.base is not larger
        seen.update(plain=weakref.ref(first), graph=weakref.ref(kept), larger=weakref.ref(larger))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert set(seen) == {"plain", "graph", "larger"}
    assert seen["plain"]() is None
    assert all(seen[name]() is not None for name in ("graph", "larger"))


def test_a_graph_takes_the_scratch_memory_of_its_own_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of another stream may be in use there when the graph is replayed."""
    stream = _stand_in(monkeypatch)
    other = _scratch("a", 10, np.float32)
    monkeypatch.setattr(stream, "ptr", 2)
    own = _scratch("a", 10, np.float32)
    monkeypatch.setattr(stream, "captures", True)
    assert _scratch("a", 10, np.float32) is own
    monkeypatch.setattr(stream, "ptr", 3)
    assert all(_scratch("a", 10, np.float32) is not one for one in (own, other))


def test_scratch_memory_is_of_few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stand_in(monkeypatch)

    def of_stream(number: int) -> Any:
        monkeypatch.setattr(stream, "ptr", number)
        return _scratch("a", 10, np.float32)

    often, once = (weakref.ref(of_stream(number)) for number in (1, 2))
    for number in range(3, _launch.MOST_STREAMS + 1):
        of_stream(number)
        assert of_stream(1) is often()
    assert once() is not None
    of_stream(number + 1)
    assert once() is None
    assert of_stream(1) is often()


def test_the_stream_of_tensors_is_of_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CuPy, which takes a stream for one of the device that is current, of two."""
    torch = pytest.importorskip("torch")
    from gfnoise.torch import _tensors

    current = [0]

    @contextmanager
    def device(index: int) -> Iterator[None]:
        before, current[0] = current[0], index
        yield
        current[0] = before

    def stream_of(name: Any) -> Any:
        return SimpleNamespace(use=lambda: used.append((name, current[0])))

    used: list[Any] = []
    cuda = SimpleNamespace(
        Device=device,
        Stream=SimpleNamespace(from_external=lambda given: stream_of(given.__cuda_stream__())),
        get_current_stream=lambda: stream_of("CuPy's own"),
        using_allocator=lambda allocator: nullcontext(),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    stream = SimpleNamespace(cuda_stream=7, __cuda_stream__=lambda: (0, 7))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: stream)
    with _tensors._on_cuda(torch.device("cuda", 1)):
        assert used == [((0, 7), 1)]
    assert used == [((0, 7), 1), ("CuPy's own", 1)]
