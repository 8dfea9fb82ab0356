"""How label files are written: whole or not at all, with the rights of others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfnoise import io

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nrrd")

LABELS = np.zeros((9, 8, 7), np.int16)
LABELS[2:6, 3:7, 1:5] = 300


def test_writes_are_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io.write(tmp_path / "a.nii.gz", LABELS)
    like = io.read_labels(tmp_path / "a.nii.gz")
    before = (tmp_path / "a.nii.gz").read_bytes()

    def fail(*args: Any) -> None:
        Path(args[1]).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", fail)
    with pytest.raises(io.FileError, match=r"a\.nii\.gz: cannot be written: No space left"):
        io.write(tmp_path / "a.nii.gz", LABELS, like)
    assert os.listdir(tmp_path) == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    with pytest.raises(io.FileError, match="cannot be written: No such file"):
        io.write(tmp_path / "missing" / "a.npy", LABELS)
    with pytest.raises(io.FileError, match=r"expected the format of a\.nii\.gz, \.nii\.gz"):
        io.write(tmp_path / "a.nrrd", LABELS, like)


@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_what_is_being_written_is_not_swept(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    target = tmp_path / f"a{suffix}"

    def put(part: Path) -> None:
        io.sweep(tmp_path)
        os.replace(part, target)

    io.write_atomically(target, LABELS, None, put)
    np.testing.assert_array_equal(io.read_labels(target).data, LABELS)
    for end in (suffix, ".lock"):
        (tmp_path / f".gfnoise-{'0' * 32}{end}").touch()
    io.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_files_have_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    io.write(tmp_path / "a.npy", LABELS)
    assert (tmp_path / "a.npy").stat().st_mode == (tmp_path / "other").stat().st_mode
