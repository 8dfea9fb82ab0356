"""The command line: what it makes, prints and refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gfnoise
from commands import NOISE, SIZES, ball, files, labels_in, run, run_json, save
from gfnoise import GaussianField, cli, io
from gfnoise._seeds import STREAMS_VERSION
from gfnoise.cli import _commands, _parser

nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def label(tmp_path: Path) -> Path:
    return save(tmp_path / "label.nii.gz", ball() * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return labels_in(tmp_path / "in")


# --- sample -------------------------------------------------------------------------------------


def test_sample_is_what_the_library_draws(label: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "noisy"
    found = run_json(capsys, "sample", label, "-o", out, *NOISE, "-n", 3)
    (row,) = found["files"]
    clean = io.read_labels(label)
    assert row["spacing"] == list(SIZES)
    for path, seed in zip(row["outputs"], row["seeds"], strict=True):
        field = GaussianField(2, 8, spacing=SIZES, ndim=3)
        noisy = io.read_labels(path)
        np.testing.assert_array_equal(noisy.data, field.sample_labels(clean.data, seed=seed))
        clean.check_pair(noisy)
        assert noisy.dtype == np.int16
        assert set(np.unique(noisy.data)) == {0, 3}
    assert len(set(row["seeds"])) == 3
    names = [f"label_noisy{i:03}.nii.gz" for i in range(3)]
    assert files(out) == [".gfnoise.jsonl", *names]


def test_a_file_has_its_noise_alone_and_in_a_folder(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    rows = run_json(capsys, "sample", folder, "-o", tmp_path / "x", *NOISE)["files"]
    alone = run_json(capsys, "sample", folder / "b.nii", "-o", tmp_path / "y", *NOISE)["files"]
    assert [Path(row["input"]).name for row in rows] == ["a.nii.gz", "b.nii", "a.nii.gz"]
    assert rows[1]["seeds"] == alone[0]["seeds"]
    assert len({row["seeds"][0] for row in rows}) == 3  # by the path, not the name alone
    other = run_json(capsys, "sample", folder / "b.nii", "-o", tmp_path / "z", *NOISE, "--seed", 1)
    assert other["files"][0]["seeds"] != alone[0]["seeds"]


def test_labels_that_the_header_scales_stay_whole(tmp_path: Path, capsys: Any) -> None:
    """Of float32, as such files become, 2**25 + 1 is none."""
    image = nibabel.Nifti1Image(ball().astype(np.int32) << 24, np.eye(4))
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "a.nii")
    run(capsys, "sample", tmp_path / "a.nii", "-o", tmp_path / "out", "--ignore-index", 0, *NOISE)
    noisy = io.read_labels(tmp_path / "out" / "a_noisy000.nii")
    assert set(np.unique(noisy.data)) <= {0, *np.unique(io.read_labels(tmp_path / "a.nii").data)}


def test_labels_that_are_ignored_stay(label: Path, tmp_path: Path, capsys: Any) -> None:
    data = ball() * 3
    data[:5] = 9
    save(label, data)
    run(capsys, "sample", label, "-o", tmp_path / "x", *NOISE, "--ignore-index", 9, "--order", 1)
    noisy = io.read_labels(tmp_path / "x" / "label_noisy000.nii.gz").data
    np.testing.assert_array_equal(noisy == 9, data == 9)
    assert (noisy != data).any()


# --- marginals and threshold --------------------------------------------------------------------


def test_marginals_and_threshold(label: Path, tmp_path: Path, capsys: Any) -> None:
    map_ = tmp_path / "m.nii.gz"
    (row,) = run_json(capsys, "marginals", label, "-o", map_, "--amplitude", 2)["files"]
    field = GaussianField(2, 1, spacing=SIZES, ndim=3)
    marginal = field.marginals(ball())
    written = io.read_map(map_)
    np.testing.assert_array_equal(written.data, marginal)
    io.read_labels(label).check_pair(written)
    assert row["label_volume"] == ball().sum()
    assert row["mean_volume"] == pytest.approx(marginal.sum(dtype=float))

    mask = tmp_path / "mask.nii.gz"
    (row,) = run_json(capsys, "threshold", map_, "-o", mask)["files"]
    best = gfnoise.optimal_segmentation(marginal)
    found = io.read_labels(mask)
    np.testing.assert_array_equal(found.data, best)
    assert found.dtype == np.uint8
    assert row["threshold"] == float(gfnoise.optimal_threshold(marginal))
    assert row["dice"] == float(gfnoise.score(best, marginal))
    assert (row["volume"], row["volume_at_half"]) == (best.sum(), (marginal >= 0.5).sum())
    assert (row["unit"], row["voxel_volume"]) == ("mm³", pytest.approx(1.8))
    text = run(capsys, "threshold", map_)
    numbers = re.findall(r"m\.nii\.gz +(.*)", text)[0].split()
    assert numbers[0] == f"{row['threshold']:.4f}"
    assert float(numbers[2]) == pytest.approx(1.8 * row["volume"], rel=1e-5)


def test_thresholds_of_a_folder_and_of_nothing(tmp_path: Path, capsys: Any) -> None:
    save(tmp_path / "in" / "a.nii", np.zeros((4, 4, 4), np.float32))
    save(tmp_path / "in" / "b.nii", np.full((4, 4, 4), 0.25, np.float32))
    arguments = "threshold", tmp_path / "in", "-o", tmp_path / "out", "--metric", "volume"
    rows = run_json(capsys, *arguments, "--volume", 0)["files"]
    assert [row["threshold"] for row in rows] == [None, None]  # infinity, which JSON has not
    assert files(tmp_path / "out") == [".gfnoise.jsonl", "a.nii", "b.nii"]
    error = run(capsys, "threshold", tmp_path / "in", "--volume", 0.5, code=2)
    assert "--volume goes with --metric volume" in error
    error = run(capsys, "threshold", tmp_path / "in", "--beta", 2, code=2)
    assert "--beta goes with --metric fbeta, got --metric dice" in error
    text = run(capsys, "threshold", tmp_path / "in")
    assert re.search(r"b\.nii +0\.2000 +0\.4000 +115\.2 +28\.8 +0\.0000 +0$", text, re.M)


def test_thresholds_that_are_there(tmp_path: Path, capsys: Any) -> None:
    """Are not measured again: there is no table without a row."""
    for name in ("a.nii", "b.nii"):
        save(tmp_path / "in" / name, np.full((4, 4, 4), 0.25, np.float32))
    arguments = "threshold", tmp_path / "in", "-o", tmp_path / "out"
    assert run(capsys, *arguments).startswith("file ")
    text = run(capsys, *arguments)
    assert text == "made 0 files from 0 of 2; nothing to do for 2: made before\n"
    (tmp_path / "out" / "b.nii").unlink()
    text = run(capsys, *arguments)
    assert ("a.nii" in text, "b.nii" in text) == (False, True)
    assert text.endswith("made 1 file from 1 of 2; nothing to do for 1: made before\n")
    save(tmp_path / "bad" / "c.nii", np.full((4, 4, 4), 2, np.float32))
    assert cli.main(["threshold", str(tmp_path / "bad")]) == 2
    assert capsys.readouterr().out == "1 failed\n"


def test_several_labels_need_a_choice(tmp_path: Path, capsys: Any) -> None:
    data = ball()
    data[:8] *= 4
    path = save(tmp_path / "a.nii.gz", data)
    arguments = "marginals", path, "-o", tmp_path / "m.nii.gz", "--amplitude", 2
    assert "holds the labels 1, 4: say which with --label" in run(capsys, *arguments, code=2)
    run(capsys, *arguments, "--label", 4, "--ignore-index", 1)
    marginal = io.read_map(tmp_path / "m.nii.gz").data
    assert (marginal[data == 1] == 0).all()
    assert marginal[data == 4].min() > 0


# --- raters -------------------------------------------------------------------------------------


@pytest.fixture
def raters(tmp_path: Path) -> list[Path]:
    field = GaussianField(1.5, 6, spacing=SIZES, ndim=3)
    masks = field.sample_labels(ball(8), seed=3, n=4)
    return [save(tmp_path / f"rater{i}.nii.gz", one) for i, one in enumerate(masks)]


@pytest.mark.parametrize("method", ["average", "majority", "union", "staple"])
def test_fuse_writes_what_fuse_raters_gives(
    method: str, raters: list[Path], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "fused.nii.gz"
    found = run_json(capsys, "fuse", *raters, "-o", out, "--method", method)
    masks = np.stack([io.read_labels(path).data for path in raters])
    expected = gfnoise.fuse_raters(masks, method)
    image = io.read_map(out)
    np.testing.assert_array_equal(image.data, expected.astype(np.float32))
    assert image.dtype == (np.float32 if method == "average" else np.int16)
    assert found["rater_volumes"] == masks.sum((1, 2, 3)).tolist()
    assert str(out) in run(capsys, "fuse", *raters, "-o", out, "--method", method)


@pytest.mark.parametrize("of", [(0, 1, 2, 3), (0, 17, 2035, 14175), (-3, 0, 5, 6)])
def test_fuse_of_labels_that_are_far_apart(
    of: tuple[int, ...], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of those that are numbered: memory goes with how many they are."""
    clean = np.random.default_rng(0).integers(0, 4, (12, 10, 8)).repeat(2, 0).astype(np.int16)
    field = GaussianField(1.5, 4, ndim=3)
    masks = field.sample_labels(clean, seed=3, n=3, mode="nearest")
    assert sorted(np.unique(masks)) == [0, 1, 2, 3]
    labels = np.array(of, np.int16)[masks]
    paths = [save(tmp_path / f"{i}.nii", one) for i, one in enumerate(labels)]
    classes = []
    fuse_raters = gfnoise.raters.fuse_raters

    def fuse(*args: Any, **options: Any) -> Any:
        classes.append(options["num_classes"])
        return fuse_raters(*args, **options)

    monkeypatch.setattr(_commands, "fuse_raters", fuse)
    run(capsys, "fuse", *paths, "-o", tmp_path / "fused.nii")
    found = io.read_labels(tmp_path / "fused.nii")
    expected = fuse_raters(masks, "staple", num_classes=4)
    np.testing.assert_array_equal(found.data, np.array(of)[expected])
    assert (classes, found.dtype) == ([4], np.int16)


@pytest.mark.parametrize("value", [1, 2, 255, 14175])
def test_fuse_of_masks_with_any_foreground(value: int, tmp_path: Path, capsys: Any) -> None:
    masks = np.zeros((2, 4, 5), np.int64)
    masks[0, 1:3, 1:4] = masks[1, 1:4, 2:5] = value
    paths = [tmp_path / f"{i}.npy" for i in range(2)]
    for path, one in zip(paths, masks, strict=True):
        np.save(path, one)
    run(capsys, "fuse", *paths, "-o", tmp_path / "fused.npy")
    expected = gfnoise.fuse_raters(masks // value, "staple")
    np.testing.assert_array_equal(np.load(tmp_path / "fused.npy"), expected * value)
    np.save(paths[0], np.full((4, 5), value))
    np.save(paths[1], np.full((4, 5), value))
    run(capsys, "fuse", *paths, "-o", tmp_path / "fused.npy")
    assert (np.load(tmp_path / "fused.npy") == value).all()


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_fuse_keeps_labels_that_the_first_dtype_cannot_hold(
    method: str, tmp_path: Path, capsys: Any
) -> None:
    label = np.zeros((4, 5), np.int64)
    label[1:3, 1:3] = 300
    for i, (one, dtype) in enumerate([(label * 0, "u1"), (label, "i2"), (label, "u8")]):
        np.save(tmp_path / f"{i}.npy", one.astype(dtype))
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    run(capsys, "fuse", *paths, "-o", tmp_path / "fused.npy", "--method", method)
    np.testing.assert_array_equal(np.load(tmp_path / "fused.npy"), label)
    np.save(paths[2], label.astype(np.uint64) << np.uint64(60))
    np.save(paths[2], np.full((4, 5), 1 << 63, np.uint64))
    arguments = "fuse", *paths, "-o", tmp_path / "fused.npy", "--method", method
    assert "2.npy: expected labels below 2**63, got 9223372036854775808" in run(
        capsys, *arguments, code=2
    )


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_fuse_counts_the_foreground_of_labels_below_zero(
    method: str, tmp_path: Path, capsys: Any
) -> None:
    masks = np.zeros((3, 4, 5), np.int64)
    masks[:, 1:3, 1:4], masks[0, 0, 0] = -1, 2
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    for path, one in zip(paths, masks, strict=True):
        np.save(path, one)
    found = run_json(capsys, "fuse", *paths, "-o", tmp_path / "f.npy", "--method", method)
    assert found["rater_volumes"] == [7, 6, 6]


def test_fuse_of_labels_that_float16_cannot_hold(tmp_path: Path, capsys: Any) -> None:
    label = np.zeros((4, 5), np.int64)
    label[1:3, 1:3] = 70_000
    for i, one in enumerate([np.zeros((4, 5), np.float16), label, label]):
        np.save(tmp_path / f"{i}.npy", one)
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    run(capsys, "fuse", *paths, "-o", tmp_path / "fused.npy", "--method", "majority")
    np.testing.assert_array_equal(np.load(tmp_path / "fused.npy"), label)


def test_fit_finds_the_amplitude_and_prints_options(raters: list[Path], capsys: Any) -> None:
    found = run_json(capsys, "fit", *raters)
    assert abs(found["amplitude"] - 1.5) < 4 * found["amplitude_error"]
    assert (found["raters"], found["units"]) == (4, "mm")
    text = run(capsys, "fit", *raters)
    assert f"--amplitude {found['amplitude']:.4g} --length-scale" in text


def test_raters_that_do_not_fit_together(raters: list[Path], tmp_path: Path, capsys: Any) -> None:
    out = "-o", tmp_path / "x.nii.gz"
    assert "two raters or more, got 1" in run(capsys, "fuse", raters[0], *out, code=2)
    other = save(tmp_path / "other.nii.gz", ball(8, (24, 20, 13)))
    assert "expected the shape of rater0" in run(capsys, "fuse", raters[0], other, *out, code=2)
    moved = save(tmp_path / "moved.nii.gz", ball(8), (0.8, 0.9, 2.6))
    assert "expected the affine of rater0" in run(capsys, "fit", raters[0], moved, code=2)
    assert "raters all alike" in run(capsys, "fit", raters[0], raters[0], code=2)
    error = run(capsys, "fuse", *raters, *out, "--method", "random", code=2)
    assert "--method random needs a --seed" in error
    error = run(capsys, "fuse", *raters, *out, "--seed", 1, code=2)
    assert "--seed goes with --method random, got --method staple" in error
    before = raters[1].read_bytes()
    error = run(capsys, "fuse", *raters, "-o", raters[1], code=2)
    assert "rater1.nii.gz: expected another file than the raters'" in error
    assert raters[1].read_bytes() == before
    assert not (tmp_path / "x.nii.gz").exists()


# --- bad input ----------------------------------------------------------------------------------


def test_a_file_that_fails_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    (folder / "b.nii").write_bytes(b"nothing")
    image = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    save(folder / "c.nii", image)
    out = tmp_path / "out"
    assert cli.main(["sample", str(folder), "-o", str(out), *NOISE]) == 2
    printed, errors = capsys.readouterr()
    assert printed == "made 2 files from 2 of 2; 2 failed\n"
    first, second = errors.splitlines()
    assert first.startswith(f"gfnoise sample: {folder / 'b.nii'}: cannot be read")
    assert second.startswith(f"gfnoise sample: {folder / 'c.nii'}: expected labels")
    assert files(out) == [".gfnoise.jsonl", "a_noisy000.nii.gz", "sub/a_noisy000.nii.gz"]


@pytest.mark.parametrize(
    "command",
    [("sample", *NOISE), ("marginals", "--amplitude", "1"), ("threshold",)],
)
def test_folders_are_not_called_like_files(
    command: tuple[str, ...], folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """`-o out.nii.gz`, from which a folder would be made."""
    name, *options = command
    inputs = [folder, folder / "a.nii.gz"] if name == "sample" else [folder]
    for path in inputs:
        for output in ("out.nii.gz", "out.NPY", "a/out.nrrd"):
            error = run(capsys, name, path, "-o", tmp_path / output, *options, code=2)
            expected = f"{tmp_path / output}: expected the name of a folder, got that of a file"
            assert error == f"gfnoise {name}: {expected}\n"
            assert files(tmp_path / "a") == []
            assert not (tmp_path / output).exists()
    (tmp_path / "is.nii").mkdir()  # who has made it means it
    if name != "threshold":
        run(capsys, name, folder, "-o", tmp_path / "is.nii", *options)
        assert len(files(tmp_path / "is.nii")) == 4


def test_a_file_that_is_named_is_written_anew(
    raters: list[Path], tmp_path: Path, capsys: Any
) -> None:
    """By every command that makes one, and the help says so."""
    map_ = save(tmp_path / "map.nii.gz", ball().astype(np.float32) / 2)
    commands = {
        "marginals": [raters[0], "--amplitude", 2],
        "threshold": [map_],
        "fuse": raters,
    }
    for name, arguments in commands.items():
        out = tmp_path / "out.nii.gz"
        out.write_bytes(b"of another")
        run(capsys, name, *arguments, "-o", out)
        assert io.read_map(out).data.shape == ball().shape
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        assert "file, replaced if it is there" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        cli.main(["sample", "--help"])
    assert "replaced if" not in " ".join(capsys.readouterr().out.split())


def test_what_in_a_folder_is_a_label(folder: Path, tmp_path: Path, capsys: Any) -> None:
    save(folder / ".cache" / "c.nii", ball())
    save(folder / "._a.nii", ball())
    save(folder / "d.nii" / "d.nii", ball())  # as some programs unpack d.nii.gz
    rows = run_json(capsys, "sample", folder, "-o", tmp_path / "out", *NOISE)["files"]
    names = [Path(row["input"]).relative_to(folder).as_posix() for row in rows]
    assert names == ["a.nii.gz", "b.nii", "d.nii/d.nii", "sub/a.nii.gz"]


def test_memory_that_is_not_enough(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, fault = io.read_labels, MemoryError("Unable to allocate 5 TiB")

    def fail(path: Path) -> Any:
        if path.name == "b.nii":
            raise fault
        return read(path)

    monkeypatch.setattr(io, "read_labels", fail)
    out = "-o", tmp_path / "out"
    error = run(capsys, "sample", folder, *out, *NOISE, code=2)
    assert error == f"gfnoise sample: {folder / 'b.nii'}: Unable to allocate 5 TiB\n"
    assert len(files(tmp_path / "out")) == 3
    error = run(capsys, "sample", folder / "b.nii", *out, *NOISE, code=2)
    assert error == "gfnoise sample: Unable to allocate 5 TiB\n"
    fault.args = ()  # as Python's own
    error = run(capsys, "sample", folder, *out, *NOISE, code=2)
    assert error == f"gfnoise sample: {folder / 'b.nii'}: MemoryError\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "no.nii", "-o", "out", *NOISE], "no.nii: no such file"),
        (["sample", "labls", "-o", "out", *NOISE], r": labls: no such file or folder$"),
        (["marginals", "labls/", "-o", "m.nii", *NOISE[:2]], r": labls: no such file or folder$"),
        (["threshold", "labls"], r": labls: no such file or folder$"),
        (["fit", "void/", "void/", "--label", "1"], "void: expected a rater's label file, got a f"),
        (["fuse", "void/", "-o", "f.nii"], "void: expected a rater's label file, got a folder$"),
        (["sample", "a.png", "-o", "out", *NOISE], r"a.png: expected a file .nii.gz, .nii"),
        (["marginals", "a.nii", "-o", "a.nii", "--amplitude", "1"], "another file than the input"),
        (["marginals", "a.nii", "-o", "m.nrrd", "--amplitude", "1"], "expected the format of a"),
        (["marginals", "a.nii", "-o", "a.nii/m.nii", "--amplitude", "1"], "a.nii: cannot be made"),
        (["sample", ".", "-o", ".", *NOISE], "expected another folder than the input's"),
        (["sample", "void", "-o", "out", *NOISE], "void: no files .nii.gz"),
        (["threshold", "a.nii"], r"expected probabilities in \[0, 1\]"),
        (["threshold", "4d.nii"], r"expected 2 or 3 axes, got shape \(2, 2, 2, 2\) \(cut"),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.nii", ball() * 3)
    save(tmp_path / "4d.nii", np.zeros((2, 2, 2, 2), np.uint8))
    (tmp_path / "void").mkdir()
    (tmp_path / "a.png").touch()
    error = run(capsys, *arguments, code=2)
    assert error.startswith(f"gfnoise {arguments[0]}: ")
    assert re.search(message, error)
    made = set(files(tmp_path)) - {"a.nii", "4d.nii", "a.png"}
    assert made <= {"out/.gfnoise.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "a.nii"], "required: -o/--output, --amplitude, --length-scale"),
        (["sample", "a", "-o", "b", "--amplitude", "-1"], "expected a number of at least 0"),
        (["sample", "a", "-o", "b", "--length-scale", "0"], "expected a positive number, got '0'"),
        (["sample", "a", "-o", "b", "--length-scale", "nan"], "expected a positive number"),
        (["sample", "a", "-o", "b", "-n", "0"], "expected an integer from 1 to 100000, got '0'"),
        (["sample", "a", "-o", "b", "--seed", "-1"], "expected an integer from 0 to 92"),
        (["threshold", "a", "--volume", "2"], "expected a number from 0 to 1"),
        (["wobble"], "invalid choice: 'wobble'"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(label: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    error = run(capsys, "sample", label, "-o", tmp_path / "locked", *NOISE, code=2)
    assert "label_noisy000.nii.gz: cannot be written: Permission denied" in error


# --- the rest -----------------------------------------------------------------------------------


def test_the_examples_of_the_help_and_the_readme_run(
    label: Path, raters: list[Path], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "labels" / "a.nii.gz", ball())
    save(tmp_path / "probability.nii.gz", ball().astype(np.float32) / 2)
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^  gfnoise (.*)$", _parser.ABOUT, re.M)
    lines += re.findall(r"^gfnoise (.*/ .*|.*\.gz)$", readme, re.M)
    assert len(lines) == 7
    for line in lines:
        run(capsys, *line.replace("-o noisy ", "-o other ").split())
    made = {"marginal.nii.gz", "mask.nii.gz", "noisy/a_noisy004.nii.gz"}
    assert made | {"other/label_noisy004.nii.gz"} <= set(files(tmp_path))


def test_seeds_of_copies_stay() -> None:
    """Golden values: `_seeds.STREAMS_VERSION` rises with a change, a line in CHANGELOG.md."""
    found = [_commands._seed(*one) for one in ((0, "a.nii.gz", 0), (7, "sub/a.nii.gz", 2))]
    assert found == [4145372260578124002, 1995376951572387890]
    assert STREAMS_VERSION == 1


def test_as_a_module(label: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "gfnoise", "sample", str(label)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "x"), *NOISE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "made 1 file from 1 of 1\n", "")
