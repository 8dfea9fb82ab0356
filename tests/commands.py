"""Labels in files, commands run on them in this process, and what they made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfnoise import cli

SIZES = (0.8, 0.9, 2.5)
NOISE = ["--amplitude", "2", "--length-scale", "8"]
IN_VOXELS = ["--units", "voxels", "--amplitude", "2", "--length-scale", "5"]
OTHER = ["--units", "voxels", "--amplitude", "3", "--length-scale", "5"]

NOTES = ".gfnoise.jsonl"
MADE_NONE = "made 0 files from 0 of 3; nothing to do for 3: made before\n"
REMEDY = "choose another folder, or --overwrite"


def ball(radius: float = 6, shape: tuple[int, ...] = (24, 20, 12)) -> np.ndarray:
    grid = np.indices(shape) - (np.array(shape).reshape(-1, 1, 1, 1) - 1) / 2
    scaled = grid * np.array(SIZES).reshape(-1, 1, 1, 1)
    return ((scaled**2).sum(0) < radius**2).astype(np.int16)


def save(path: Path, data: np.ndarray, sizes: tuple[float, ...] = SIZES) -> Path:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([*sizes, 1])), path)
    return path


def labels_in(folder: Path) -> Path:
    """A folder of three labels, and of what is none."""
    for name, radius in (("a.nii.gz", 5), ("b.nii", 6), ("sub/a.nii.gz", 5)):
        save(folder / name, ball(radius))
    (folder / "notes.txt").write_text("not a label")
    return folder


def disk(radius: int, path: Path) -> None:
    y, x = np.ogrid[-12:12, -10:10]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, (y**2 + x**2 < radius**2).astype(np.int16))


def disks_in(folder: Path) -> Path:
    """A folder of three labels that need no library to be read."""
    for name, radius in (("a.npy", 5), ("b.npy", 6), ("sub/a.npy", 7)):
        disk(radius, folder / name)
    return folder


def link(path: Path, target: Path | str) -> None:
    """Make a link; the test is skipped where that is not allowed, as on most Windows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target)
    except OSError as error:
        pytest.skip(f"links cannot be made here: {error}")


def run(capsys: Any, *arguments: Any, code: int = 0) -> str:
    """Run a command; what it printed, on stdout or, where it failed, on stderr."""
    assert cli.main([str(one) for one in arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def run_json(capsys: Any, *arguments: Any) -> Any:
    return json.loads(run(capsys, *arguments, "--json"))


def files(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """What commands made in a folder, without their notes."""
    return {name: (folder / name).read_bytes() for name in files(folder) if name != NOTES}
