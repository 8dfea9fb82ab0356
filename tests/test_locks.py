"""Locks between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gfnoise.io import _locks

COUNT = """
import sys
from pathlib import Path
from gfnoise.io import _locks

folder = Path(sys.argv[1])
number = folder / "number"
for _ in range(300):
    with _locks.locked(folder / "lock"):
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    """The file of a lock ends with each holder: those who wait must not hold what is gone."""
    pytest.importorskip("fcntl")
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [one.wait(300) for one in started] == [0] * 4
    assert (tmp_path / "number").read_text() == "1200"
    assert [one.name for one in tmp_path.iterdir()] == ["number"]


def test_what_is_held_and_what_is_left(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    lock = tmp_path / "lock"
    with _locks.locked(lock), _locks.unheld(lock) as free:
        assert not free
    assert not lock.exists()
    lock.touch()
    with _locks.unheld(lock) as free:
        assert free
    assert not lock.exists()
    with pytest.raises(ZeroDivisionError), _locks.locked(lock):
        raise ZeroDivisionError
    assert not lock.exists()
