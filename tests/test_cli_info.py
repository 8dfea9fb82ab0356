"""What the command line shows: figures, what this machine has, and its times."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gfnoise
from commands import ball, files, run, run_json, save
from limits import LIMIT

nibabel = pytest.importorskip("nibabel")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.npy", "flat.npy"])
def test_figure_draws_files_of_any_kind(name: str, tmp_path: Path, capsys: Any) -> None:
    image = pytest.importorskip("matplotlib.image")
    data = ball()
    path = tmp_path / name
    if name == "a.nii.gz":
        save(path, data)
    else:
        np.save(path, data[12] if name == "flat.npy" else data)
    out = tmp_path / "new" / "f.png"
    amplitudes = ["1,2"] if name == "flat.npy" else [1, 2]
    arguments = "figure", path, "-o", out, "--units", "voxels", "--amplitudes", *amplitudes
    found = run_json(capsys, *arguments)
    axis = {"a.nii.gz": 2, "a.npy": 0}.get(name)
    assert found["axis"] == axis
    if axis is not None:
        sums = data.sum(tuple(i for i in range(3) if i != axis))
        assert sums[found["slice"]] == sums.max()
    pixels = image.imread(out)
    assert pixels.shape[0] > 400
    assert pixels[0, 0, 0] == 1
    assert len(np.unique(pixels[..., 0])) > 50
    assert not [one for one in files(tmp_path) if ".gfnoise-" in one]


def texts(path: Path) -> str:
    """What a picture says, which matplotlib notes line by line where it draws it."""
    return " ".join(re.findall("<!-- (.*) -->", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("amplitudes", [[2], [1, 2], [0.5, 1, 2, 4]])
@pytest.mark.parametrize("name", ["label.nii.gz", f"sub-01_{'W_' * 40}consensus.nii.gz"])
def test_titles_are_whole(name: str, amplitudes: list[float], tmp_path: Path, capsys: Any) -> None:
    image = pytest.importorskip("matplotlib.image")
    path = save(tmp_path / name, ball())
    arguments = "figure", path, "--label", 1, "--amplitudes", *amplitudes, "-o"
    run(capsys, *arguments, tmp_path / "f.png")
    pixels = image.imread(tmp_path / "f.png")
    assert (pixels[:, [0, -1], :3] == 1).all()
    run(capsys, *arguments, tmp_path / "f.svg")
    shown = texts(tmp_path / "f.svg")
    expected = "label 1; slice 5 of 12 across axis 2 (z); length scale b = 10 mm; red: the label, "
    assert expected in shown
    assert (f"{name};" if len(name) < 40 else "…_W_consensus.nii.gz; label 1") in shown


def test_names_that_no_font_can_show(tmp_path: Path, capsys: Any) -> None:
    """And a formula is none."""
    pytest.importorskip("matplotlib")
    names = [r"a$\b$.npy", *([os.fsdecode(b"\xff.npy")] if sys.platform == "linux" else [])]
    for name in names:
        np.save(tmp_path / name, ball()[12])
        run(capsys, "figure", tmp_path / name, "-o", tmp_path / "f.svg", "--units", "voxels")
        shown = name.encode(errors="backslashreplace").decode()
        assert f"{shown}; length scale" in texts(tmp_path / "f.svg")


def test_the_volumes_of_a_figure(tmp_path: Path, capsys: Any) -> None:
    """In ml, also where the noise is in voxels; without a spacing, and in 2D, there are none."""
    pytest.importorskip("matplotlib")
    voxels = int(ball().sum())
    np.save(tmp_path / "a.npy", ball())
    np.save(tmp_path / "flat.npy", ball()[12])
    save(tmp_path / "a.nii", ball())
    for name, options, expected in (
        ("a.nii", [], f"{voxels * 1.8e-3:.4g} ml"),
        ("a.nii", ["--units", "voxels"], f"{voxels * 1.8e-3:.4g} ml"),
        ("a.npy", ["--units", "voxels"], f"{voxels} voxels"),
        ("a.npy", ["--spacing", 2], f"{voxels * 8e-3:.4g} ml"),
        ("flat.npy", ["--spacing", 2], f"{int(ball()[12].sum()) * 4} mm²"),
    ):
        out = tmp_path / "f.svg"
        run(capsys, "figure", tmp_path / name, "-o", out, "--amplitudes", "1e-3", *options)
        shown = texts(out)
        assert f"red: the label, {expected}" in shown
        assert shown.count(f" {expected}, Dice 1.000") == 2
        assert shown.count(expected) == 5


def test_the_axis_of_a_file_without_an_affine(tmp_path: Path, capsys: Any) -> None:
    nrrd = pytest.importorskip("nrrd")
    pytest.importorskip("matplotlib")
    nrrd.write(str(tmp_path / "a.nrrd"), ball(), {"spacings": [0.8, 0.9, 2.5]})
    arguments = "figure", tmp_path / "a.nrrd", "-o", tmp_path / "f.svg"
    assert run_json(capsys, *arguments)["axis"] == 0
    assert "of 24 across axis 0; " in texts(tmp_path / "f.svg")
    with pytest.raises(SystemExit):
        run(capsys, "figure", "--help")
    expected = "(default: the last, or 0 where the file has no affine)"
    assert expected in " ".join(capsys.readouterr().out.split())


def test_figures_that_cannot_be(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    label = save(tmp_path / "label.nii.gz", ball())
    out = "-o", tmp_path / "f.png"
    assert "expected a .png" in run(capsys, "figure", label, "-o", "f.txt", code=2)
    assert "at most 11, got 12" in run(capsys, "figure", label, *out, "--slice", 12, code=2)
    assert "must be 0, 1 or 2" in run(capsys, "figure", label, *out, "--axis", 3, code=2)
    np.save(tmp_path / "bare.npy", ball())
    error = run(capsys, "figure", tmp_path / "bare.npy", "-o", tmp_path / "new" / "f.png", code=2)
    assert "spacing" in error
    assert not (tmp_path / "new").exists()
    empty = save(tmp_path / "empty.nii.gz", np.zeros((4, 4, 4), np.uint8))
    assert "expected some foreground" in run(capsys, "figure", empty, *out, code=2)
    (tmp_path / "file").write_text("")
    error = run(capsys, "figure", label, "-o", tmp_path / "file" / "f.png", code=2)
    assert "cannot be made" in error
    (tmp_path / "folder.png").mkdir()
    assert "cannot be written" in run(
        capsys, "figure", label, "-o", tmp_path / "folder.png", code=2
    )
    assert not [one for one in files(tmp_path) if ".gfnoise-" in one]


def test_info_tells_versions_devices_and_the_cache(capsys: Any) -> None:
    found = run_json(capsys, "info")
    assert found["gfnoise"] == gfnoise.__version__
    assert found["devices"][0] == "cpu"
    assert found["cache"]["files"] >= 0
    rows = {row["name"]: row for row in found["optional"]}
    assert rows["nibabel"]["version"] == nibabel.__version__
    text = run(capsys, "info")
    assert f"gfnoise {gfnoise.__version__}, Python" in text
    for row in rows.values():
        assert (row["version"] or f"pip install '{row['install']}'") in text


@pytest.mark.parametrize("error", [RuntimeError(), RuntimeError("no driver\nat all")])
def test_info_where_cupy_fails(
    error: Exception, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        raise error

    runtime = types.SimpleNamespace(getDeviceCount=count)
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    text = "no cuda (RuntimeError: no driver)" if error.args else "no cuda (RuntimeError)"
    assert run_json(capsys, "info")["devices"] == ["cpu", text]


def test_info_where_numba_is_switched_off() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "gfnoise", "info", "--json"],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["cache"]["folder"] is None


def test_info_where_numba_is_missing(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells what is missing: nothing of that is asked for to tell it."""
    for name in [*sys.modules]:
        if name.startswith("gfnoise._cpu"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert run_json(capsys, "info")["cache"] == {"folder": None, "files": 0, "bytes": 0}
    assert "compiled kernels: not kept" in run(capsys, "info")


def test_the_cache_that_info_names_is_that_of_the_kernels(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder may be given for the kernels of many projects."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "other.nbi").write_bytes(b"other")
    found = run_json(capsys, "info")["cache"]
    assert (Path(found["folder"]).parent, found["files"]) == (tmp_path, 0)
    (Path(found["folder"]) / "kernel.nbc").write_bytes(b"kernel")
    assert run_json(capsys, "info")["cache"] == found | {"files": 1, "bytes": 6}


def test_the_extras_that_info_names_exist() -> None:
    from importlib.metadata import metadata

    extras = metadata("gfnoise").get_all("Provides-Extra")
    for row in importlib.import_module("gfnoise.cli._machine").describe()["optional"]:
        assert re.fullmatch(r"gfnoise\[(.*)\]", row["install"])[1] in extras


def test_bench_has_a_ratio_per_row(capsys: Any) -> None:
    pytest.importorskip("scipy")
    found = run_json(capsys, "bench", "--size", 16, "--repeats", 1)
    assert len(found["rows"]) == 5
    assert all(row["ratio"] > 0 for row in found["rows"])
    assert len(run(capsys, "bench", "--size", 16, "--repeats", 1).splitlines()) == 10


def test_a_size_that_is_no_benchmark(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run(capsys, "bench", "--size", 7)
    assert "integer from 8 to 2048, got '7'" in capsys.readouterr().err
