"""The command line's voxel sizes: of the header, given, in either spelling, in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import NOISE, SIZES, ball, run, run_json, save
from gfnoise import GaussianField, cli

pytest.importorskip("nibabel")


def test_voxel_sizes_that_no_file_has_are_asked_for(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, ball())
    arguments = "marginals", path, "-o", tmp_path / "m.npy", "--amplitude", 2
    error = run(capsys, *arguments, code=2)
    assert "a.npy: has no voxel size: give --spacing in mm, or --units voxels" in error
    assert not (tmp_path / "m.npy").exists()
    for options, spacing in (
        (["--units", "voxels"], 1.0),
        (["--spacing", *map(str, SIZES)], SIZES),
        (["--spacing", "0.5"], 0.5),
    ):
        run(capsys, *arguments, *options)
        field = GaussianField(2, 1, spacing=spacing, ndim=3)
        np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), field.marginals(ball()))
    assert "one number, or 3" in run(capsys, *arguments, "--spacing", 1, 2, code=2)
    error = run(capsys, *arguments, "--spacing", 1, "--units", "voxels", code=2)
    assert "--spacing goes with --units mm" in error


def test_spacings_with_commas_or_spaces(tmp_path: Path, capsys: Any) -> None:
    """And a run that was stopped goes on in either spelling."""
    np.save(tmp_path / "a.npy", ball())
    arguments = "sample", tmp_path / "a.npy", "-o", tmp_path / "out", *NOISE, "--spacing"
    for given in (["0.8,0.9,2.5"], ["0.8,", "0.9,", "2.5"], ["0.8,0.9", "2.5"]):
        (row,) = run_json(capsys, *arguments, *given)["files"]
    assert row["there_already"]
    (row,) = run_json(capsys, *arguments, 0.8, 0.9, 2.5)["files"]
    assert row["there_already"]
    for given in ("0.8,,0.9", ",1", ",", "1,nan,1", "1,0,1", "1;1;1"):
        with pytest.raises(SystemExit):
            cli.main([*map(str, arguments), given])
        error = capsys.readouterr().err
        assert f"argument --spacing: expected positive numbers, got '{given}'" in error


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_spacings_in_another_order_than_the_header(
    suffix: str, tmp_path: Path, capsys: Any
) -> None:
    sizes = (0.7421875, 0.8, 3.0)
    if suffix == ".nrrd":
        nrrd = pytest.importorskip("nrrd")
        nrrd.write(str(tmp_path / "a.nrrd"), ball(), {"spacings": sizes})
    else:
        save(tmp_path / "a.nii.gz", ball(), sizes)
    path = tmp_path / f"a{suffix}"
    arguments = "marginals", path, "-o", tmp_path / f"m{suffix}", "--amplitude", 2, "--spacing"
    for given in ("3,0.8,0.7421875", "3 .8 .742", "0.8,0.74,3"):
        error = run(capsys, *arguments, *given.split(), code=2)
        listed = " ".join(f"{float(one):g}" for one in given.replace(",", " ").split())
        assert (
            f"a{suffix}: --spacing must be in the order of the header, x y z, which says "
            f"0.742188 0.8 3, got {listed}" in error
        )
        assert not (tmp_path / f"m{suffix}").exists()
    for given in ("0.7421875,0.8,3", "0.742,.8,3", "0.8", "3,1,1", "1,1,3"):
        run(capsys, *arguments, given)
    flat = save(tmp_path / "flat.nii", ball()[..., 5], (0.8, 2.5, 1))
    error = run(capsys, "fit", flat, flat, "--spacing", "2.5,0.8", code=2)
    assert "in the order of the header, x y, which says 0.8 2.5, got 2.5 0.8" in error
