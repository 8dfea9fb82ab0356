"""What the command line warns of: strengths that can hardly be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import NOISE, ball, disks_in, labels_in, save
from gfnoise import cli

pytest.importorskip("nibabel")

FOLDS = (
    "amplitude {} exceeds the length scale {}: the noise folds over at 30 % of the voxels or more "
    "(below a quarter of it, at 1 of 1800 or less)"
)


def warned(capsys: Any, *arguments: Any) -> list[str]:
    """What is told on stderr by a command that succeeds, and in its JSON."""
    assert cli.main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    texts = json.loads(out)["warnings"]
    assert err.splitlines() == [f"gfnoise {arguments[0]}: warning: {text}" for text in texts]
    return texts


def test_what_is_meant_is_not_warned_of(tmp_path: Path, capsys: Any) -> None:
    folder = labels_in(tmp_path / "in")
    assert warned(capsys, "sample", folder, "-o", tmp_path / "out", *NOISE) == []
    assert warned(capsys, "marginals", folder, "-o", tmp_path / "maps", *NOISE[:2]) == []
    equal = "--amplitude", 8, "--length-scale", 8  # and 9 is half of the shortest side
    assert warned(capsys, "sample", folder, "-o", tmp_path / "equal", *equal) == []
    half = "--amplitude", 9, "--length-scale", 9
    assert warned(capsys, "sample", folder, "-o", tmp_path / "half", *half) == []


def test_noise_that_folds(tmp_path: Path, capsys: Any) -> None:
    """Once per run, also where there is nothing to do."""
    folder = labels_in(tmp_path / "in")
    noise = "--amplitude", 8.5, "--length-scale", 8
    for _ in range(2):
        found = warned(capsys, "sample", folder, "-o", tmp_path / "out", *noise)
        assert found == [FOLDS.format(8.5, 8)]


def test_images_that_are_small_for_the_noise(tmp_path: Path, capsys: Any) -> None:
    """As of a header in metres that names no unit: a line for all files."""
    metres = tuple(size / 1000 for size in (0.8, 0.9, 2.5))
    small = save(tmp_path / "in" / "a.nii", ball(), metres)
    expected = (
        f"{small}: amplitude 2 mm exceeds half of the image, which is 0.018 mm along axis 1: is "
        "the spacing in mm?"
    )
    for command in (
        ("sample", small, "-o", tmp_path / "one", *NOISE, "-n", 2),
        ("marginals", small, "-o", tmp_path / "one.nii", *NOISE[:2]),
    ):
        assert warned(capsys, *command) == [expected]
    save(tmp_path / "in" / "b.nii", ball(), metres)
    found = warned(capsys, "marginals", small.parent, "-o", tmp_path / "two", *NOISE[:2])
    assert found == [f"{expected} (and 1 more file)"]
    save(tmp_path / "in" / "c.nii", ball(), metres)
    save(tmp_path / "in" / "d.nii", ball())
    found = warned(capsys, "marginals", small.parent, "-o", tmp_path / "four", *NOISE[:2])
    assert found == [f"{expected} (and 2 more files)"]


def test_images_that_are_small_in_voxels(tmp_path: Path, capsys: Any) -> None:
    folder = disks_in(tmp_path / "in")
    noise = "--amplitude", 10.5, "--units", "voxels"
    (found,) = warned(capsys, "marginals", folder / "a.npy", "-o", tmp_path / "m.npy", *noise)
    expected = "amplitude 10.5 voxels exceeds half of the image, which is 20 voxels along axis 1"
    assert found == f"{folder / 'a.npy'}: {expected}"


def test_a_file_that_fails_is_told_after_what_is_warned_of(tmp_path: Path, capsys: Any) -> None:
    folder = labels_in(tmp_path / "in")
    (folder / "b.nii").write_bytes(b"nothing")
    arguments = "sample", folder, "-o", tmp_path / "out", "--amplitude", 3, "--length-scale", 2
    assert cli.main([str(one) for one in arguments]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"gfnoise sample: warning: {FOLDS.format(3, 2)}"
    assert second.startswith(f"gfnoise sample: {folder / 'b.nii'}: cannot be read")


def test_figures_warn_of_their_largest_amplitude(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "a.npy", ball()[12])
    arguments = "figure", tmp_path / "a.npy", "-o", tmp_path / "f.svg", "--spacing", 1
    assert warned(capsys, *arguments) == []
    found = warned(capsys, *arguments, "--amplitudes", 1, 7, 2, "--length-scale", 6)
    expected = "amplitude 7 mm exceeds half of the image, which is 12 mm along axis 1"
    question = "is the spacing in mm?"
    assert found == [FOLDS.format(7, 6), f"{tmp_path / 'a.npy'}: {expected}: {question}"]
