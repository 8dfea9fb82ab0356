"""Commands on folders: what was made goes on, and what was made otherwise is never taken for it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import IN_VOXELS as NOISE
from commands import (
    MADE_NONE,
    NOTES,
    OTHER,
    REMEDY,
    contents,
    disk,
    disks_in,
    files,
    link,
    run,
    run_json,
)
from gfnoise import _seeds, cli, io
from gfnoise.cli import _notes
from limits import LIMIT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return disks_in(tmp_path / "in")


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many files be written, and stop as Ctrl-C does."""
    write = io.write_atomically

    def stop(*args: Any) -> None:
        nonlocal count
        if not count:
            raise KeyboardInterrupt
        count -= 1
        write(*args)

    monkeypatch.setattr(io, "write_atomically", stop)


def test_a_run_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    run(capsys, "sample", folder, "-o", whole, *NOISE, "-n", 2)
    out = tmp_path / "out"
    arguments = "sample", folder, "-o", out, *NOISE
    stop_after(3, monkeypatch)
    assert "stopped; the same command goes on" in run(capsys, *arguments, "-n", 2, code=130)
    monkeypatch.undo()
    assert len(files(out)) == 4
    kept = {name: (out / name).stat().st_ino for name in contents(out)}
    assert (
        run(capsys, *arguments, "-n", 2)
        == "made 3 files from 2 of 3; nothing to do for 1: made before\n"
    )
    assert contents(out) == contents(whole)
    assert all((out / name).stat().st_ino == then for name, then in kept.items())

    assert run(capsys, *arguments, "-n", 2) == MADE_NONE
    assert run(capsys, *arguments, "-n", 3).startswith("made 3 files from 3 of 3")  # more copies


def test_what_is_there_is_read_side_by_side(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files at least; one that cannot be read stops no other."""
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    run(capsys, *arguments)
    digest, both = _notes.digest, threading.Barrier(2, timeout=LIMIT)

    def meet(path: Path) -> str:
        if path in (folder / "a.npy", folder / "b.npy"):
            both.wait()
        return digest(path)

    monkeypatch.setattr(_notes, "digest", meet)
    assert run(capsys, *arguments) == MADE_NONE

    def fail(path: Path) -> str:
        if path == folder / "b.npy":
            raise OSError(5, "Input/output error")
        return digest(path)

    monkeypatch.setattr(_notes, "digest", fail)
    error = run(capsys, *arguments, code=2)
    assert error == f"gfnoise sample: {folder / 'b.npy'}: [Errno 5] Input/output error\n"


def test_a_label_is_not_read_before_its_turn(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which there is more to make: what was read twice may have changed in between."""
    digest, names = _notes.digest, []

    def note(path: Path) -> str:
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(_notes, "digest", note)
    run(capsys, "sample", folder, "-o", tmp_path / "out", *NOISE)
    assert len(names) == 6
    assert names[::2] == ["a.npy", "b.npy", "a.npy"]  # each before what is made of it


def test_a_label_that_changed_is_done_again(folder: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    run(capsys, *arguments)
    then = (folder / "b.npy").stat().st_mtime_ns
    disk(8, folder / "b.npy")
    os.utime(folder / "b.npy", ns=(0, then - 10**15))  # older than the result, as from an archive
    assert run(capsys, *arguments).startswith("made 1 file from 1 of 3")
    alone = "sample", folder / "b.npy", "-o", tmp_path / "alone", *NOISE
    run(capsys, *alone)
    found, expected = contents(tmp_path / "out"), contents(tmp_path / "alone")
    assert found["b_noisy000.npy"] == expected["b_noisy000.npy"]
    assert run(capsys, *arguments) == MADE_NONE


def test_the_clock_is_not_asked(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Times differ in a copy of the folders, or where another machine's clock is wrong."""
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    run(capsys, *arguments)
    for i, one in enumerate([*folder.rglob("*.npy"), *(tmp_path / "out").rglob("*")]):
        os.utime(one, ns=(0, (i % 3) * 10**18))
    assert run(capsys, *arguments) == MADE_NONE
    shutil.move(tmp_path / "out", tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "out", copy_function=shutil.copyfile)
    assert run(capsys, *arguments) == MADE_NONE


def test_commands_in_turn_in_one_folder(folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    run(capsys, "sample", folder, "-o", out, *NOISE)
    run(capsys, "marginals", folder, "-o", out, *NOISE[:4])
    before = contents(out)
    assert run(capsys, "sample", folder, "-o", out, *NOISE) == MADE_NONE
    assert run(capsys, "marginals", folder, "-o", out, *NOISE[:4]) == MADE_NONE
    assert contents(out) == before


def test_commands_that_make_files_of_one_name(folder: Path, tmp_path: Path, capsys: Any) -> None:
    out, maps = tmp_path / "out", tmp_path / "maps"
    run(capsys, "marginals", folder, "-o", maps, *NOISE[:4])
    run(capsys, "marginals", folder, "-o", out, *NOISE[:4])
    before = contents(out)
    threshold = "threshold", maps, "-o", out
    error = run(capsys, *threshold, code=2)
    assert f"{out / 'a.npy'}: was not made by this command, but by 'marginals': {REMEDY}" in error
    assert contents(out) == before
    assert run(capsys, *threshold, "--overwrite", "--json")
    run(capsys, "threshold", maps, "-o", tmp_path / "masks")
    masks = contents(out)
    assert masks == contents(tmp_path / "masks")
    error = run(capsys, "marginals", folder, "-o", out, *NOISE[:4], code=2)
    assert "was not made by this command" in error
    assert contents(out) == masks
    (row, *_) = run_json(capsys, *threshold)["files"]
    assert row["there_already"]


@pytest.mark.parametrize("damage", ["lost", "empty", "other", "old"])
def test_results_without_notes_are_not_taken_for_others(
    damage: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    run(capsys, "sample", folder, "-o", out, *NOISE)
    before = contents(out)
    (out / NOTES).unlink()
    if damage == "empty":
        (out / NOTES).touch()
    elif damage == "other":
        (out / NOTES).write_bytes(b"\x00\xff[[[\n" + b"[" * 100_000 + b'\n{"a": 1}\n3')
    elif damage == "old":
        settings = {"amplitude": 3.0, "length_scale": 5.0}
        (out / ".gfnoise.json").write_text(json.dumps({"sample": settings}))
    for arguments in (NOISE, OTHER):
        error = run(capsys, "sample", folder, "-o", out, *arguments, code=2)
        name = out / "a_noisy000.npy"
        assert f"{name}: was not made by this command, as far as {NOTES} tells: {REMEDY}" in error
    out_files = contents(out)
    out_files.pop(".gfnoise.json", None)
    assert out_files == before
    run(capsys, "sample", folder, "-o", out, *OTHER, "--overwrite")
    assert all(contents(out)[name] != old for name, old in before.items())
    assert run(capsys, "sample", folder, "-o", out, *OTHER) == MADE_NONE


def test_results_made_otherwise_are_not_mixed(folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    run(capsys, "sample", folder, "-o", out, *NOISE, "-n", 2)
    before = contents(out)
    other = "sample", folder, "-o", out, *OTHER
    error = run(capsys, *other, code=2)
    assert f"{out}: holds results made otherwise (amplitude 2.0, now 3.0): {REMEDY}" in error
    disk(3, tmp_path / "more" / "c.npy")  # also where no name is the same
    error = run(capsys, "sample", tmp_path / "more", "-o", out, *NOISE, code=2)
    assert "holds results made otherwise (input '" in error
    assert contents(out) == before
    assert run(capsys, *other, "--overwrite").startswith("made 3 files from 3 of 3")
    assert sum(contents(out)[name] == old for name, old in before.items()) == 3  # the copies 1
    error = run(capsys, *other, "-n", 2, code=2)
    assert "a_noisy001.npy: was not made by this command, but with other settings (amp" in error
    for one in contents(out):
        (out / one).unlink()
    run(capsys, "sample", folder, "-o", out, *NOISE)  # it holds nothing any more


def test_results_of_other_streams_are_not_mixed(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a library whose seeds give other noise; what is not drawn does not depend on it."""
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    run(capsys, *arguments)
    marginals = "marginals", folder, "-o", tmp_path / "maps", *NOISE[:4]
    run(capsys, *marginals)
    (tmp_path / "out" / "b_noisy000.npy").unlink()
    monkeypatch.setattr(_seeds, "STREAMS_VERSION", 2)
    error = run(capsys, *arguments, code=2)
    assert "made otherwise (version of the random streams 1, now 2): choose another" in error
    assert run(capsys, *marginals) == MADE_NONE


def test_a_result_that_somebody_changed(folder: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    run(capsys, *arguments)
    changed = tmp_path / "out" / "b_noisy000.npy"
    then = changed.stat().st_mtime_ns
    disk(2, changed)
    os.utime(changed, ns=(then, then))
    before = contents(tmp_path / "out")
    error = run(capsys, *arguments, code=2)
    assert f"{changed}: was not made by this command, as far as" in error
    assert contents(tmp_path / "out") == before
    changed.unlink()
    assert run(capsys, *arguments).startswith("made 1 file from 1 of 3")


def test_overwriting_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(capsys, "sample", folder, "-o", out, *NOISE)
    before = contents(out)
    arguments = "sample", folder, "-o", out, *OTHER
    stop_after(2, monkeypatch)
    error = run(capsys, *arguments, "--overwrite", code=130)
    assert "stopped; the same command without --overwrite goes on" in error
    monkeypatch.undo()
    assert run(capsys, *arguments).startswith("made 1 file from 1 of 3")
    assert all(contents(out)[name] != old for name, old in before.items())
    assert run(capsys, *arguments) == MADE_NONE
    assert run(capsys, *arguments, "--overwrite").startswith("made 3 files from 3 of 3")


def test_overwriting_that_made_nothing_changes_nothing(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where each file fails, nor where arguments do not fit together, nor if stopped."""
    out = tmp_path / "out"
    arguments = "sample", folder, "-o", out, *NOISE
    run(capsys, *arguments)
    before = contents(out), (out / NOTES).read_bytes()
    error = run(capsys, "sample", folder, "-o", out, *NOISE[2:], "--overwrite", code=2)
    assert error.count("has no voxel size") == 3
    error = run(capsys, *arguments, "--spacing", 1, "--overwrite", code=2)
    assert error == "gfnoise sample: --spacing goes with --units mm, got --units voxels\n"
    stop_after(0, monkeypatch)
    error = run(capsys, "sample", folder, "-o", out, *OTHER, "--overwrite", code=130)
    assert error == "gfnoise sample: stopped; the same command goes on\n"
    monkeypatch.undo()
    assert (contents(out), (out / NOTES).read_bytes()) == before
    assert run(capsys, *arguments) == MADE_NONE


def test_arguments_that_do_not_fit_together_make_no_folder(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    marginals = "marginals", folder, "-o", out, *NOISE[:4]
    error = run(capsys, *marginals, "--label", 1, "--ignore-index", 1, code=2)
    assert error == "gfnoise marginals: --label must not be the --ignore-index, got 1 for both\n"
    error = run(capsys, *marginals, "--spacing", 1, code=2)
    assert error == "gfnoise marginals: --spacing goes with --units mm, got --units voxels\n"
    assert not out.exists()


@pytest.mark.parametrize("place", ["before the note", "before the rename", "in the note"])
def test_a_run_that_was_killed_goes_on(
    place: str, folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any place: nothing is left undone by the next run, and nothing refused."""
    out = tmp_path / "out"
    arguments = "sample", folder, "-o", out, *NOISE
    append = _notes.Notes._append

    def die(notes: Any, rows: list[dict[str, Any]]) -> None:
        if rows[-1]["file"] == "b_noisy000.npy":
            if place != "before the note":
                append(notes, rows)
            if place == "in the note":
                os.truncate(out / NOTES, (out / NOTES).stat().st_size - 20)
            raise KeyboardInterrupt
        append(notes, rows)

    monkeypatch.setattr(_notes.Notes, "_append", die)
    assert cli.main([str(one) for one in arguments]) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert list(contents(out)) == ["a_noisy000.npy"]
    assert run(capsys, *arguments).startswith("made 2 files from 2 of 3; nothing to do for 1")
    assert run(capsys, *arguments) == MADE_NONE


def test_notes_on_a_full_disk(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line is no note, and spoils no other."""
    out = tmp_path / "out"
    arguments = "sample", folder, "-o", out, *NOISE
    stop_after(0, monkeypatch)
    run(capsys, *arguments, code=130)
    monkeypatch.undo()
    real, left = Path.open, [0]

    def half(path: Path, *args: Any) -> Any:
        stream = real(path, *args)
        if path.name == NOTES and args == ("ab",) and left[0] == 0:
            stream.write(b'{"file": "a_noi')
            stream.close()
            left[0] -= 1
            raise OSError(28, "No space left on device")
        left[0] -= path.name == NOTES and args == ("ab",)
        return stream

    monkeypatch.setattr(Path, "open", half)
    error = run(capsys, *arguments, code=2)
    assert error == f"gfnoise sample: {out}: cannot be written to: No space left on device\n"
    monkeypatch.undo()
    assert list(contents(out)) == ["b_noisy000.npy", "sub/a_noisy000.npy"]
    assert run(capsys, *arguments).startswith("made 1 file from 1 of 3; nothing to do for 2")
    assert run(capsys, *arguments) == MADE_NONE


def test_links_that_go_in_circles(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Such a file fails, and the others are made."""
    link(folder / "loop.npy", "loop.npy")
    link(tmp_path / "loop", "loop")
    out = tmp_path / "out"
    assert cli.main([str(one) for one in ("sample", folder, "-o", out, *NOISE)]) == 2
    printed, errors = capsys.readouterr()
    assert printed == "made 3 files from 3 of 3; 1 failed\n"
    assert errors == f"gfnoise sample: {folder / 'loop.npy'}: no such file\n"
    loop = tmp_path / "loop"
    for command in (
        ("sample", folder / "a.npy", "-o", loop, *NOISE),
        ("marginals", folder, "-o", loop, *NOISE[:4]),
    ):
        assert f"{loop}: cannot be made: File exists" in run(capsys, *command, code=2)
    error = run(capsys, "marginals", folder / "loop.npy", "-o", loop, *NOISE[:4], code=2)
    assert f"{folder / 'loop.npy'}: no such file" in error
    fuse = "fuse", folder / "loop.npy", folder / "a.npy", "-o", tmp_path / "fused.npy"
    assert f"{folder / 'loop.npy'}: no such file" in run(capsys, *fuse, code=2)


def test_results_beside_and_above_the_input(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that holds the input's; results in the input's own folder are no input."""
    monkeypatch.chdir(tmp_path)
    run(capsys, "sample", "in", "-o", "apart", *NOISE)
    for output in (".", "../" + tmp_path.name):
        text = run(capsys, "sample", "in", "-o", output, *NOISE)
        assert text.startswith("made 3 files" if output == "." else MADE_NONE)
    for name, made in contents(tmp_path / "apart").items():
        assert (tmp_path / name).read_bytes() == made
    assert run(capsys, "sample", "in", "-o", "in/made", *NOISE).startswith("made 3 files")
    assert run(capsys, "sample", "in", "-o", "in/made", *NOISE) == MADE_NONE
    (folder / "only").mkdir()
    disk(5, folder / "only" / "made" / "a.npy")
    error = run(capsys, "sample", "in/only", "-o", "in/only/made", *NOISE, code=2)
    assert "in/only: no files .nii.gz, .nii, .nrrd, .npy in this folder outside of in/onl" in error


def test_results_among_the_input(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Which a folder within it of its own name makes, and links: nothing is read that was made."""
    disk(4, folder / "in" / "a.npy")
    arguments = "sample", folder, "-o", tmp_path, *NOISE
    expected = f"{tmp_path}: expected another folder: {folder / 'in' / 'a.npy'} would be made into"
    assert expected in run(capsys, *arguments, "--overwrite", code=2)
    shutil.rmtree(folder / "in")
    disk(9, tmp_path / "out" / "b.npy")
    (folder / "b.npy").unlink()
    link(folder / "b.npy", tmp_path / "out" / "b.npy")
    before = contents(tmp_path)
    marginals = "marginals", folder, "-o", tmp_path / "out", *NOISE[:4], "--overwrite"
    error = run(capsys, *marginals, code=2)
    assert f"{tmp_path / 'out' / 'b.npy'}: expected another file than the input" in error
    assert contents(tmp_path) == before


def test_results_among_the_input_through_a_folder_that_is_a_link(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """Neither over a file of the input, nor beside it, where it would be made noisy as well."""
    disk(4, folder / "sub" / "a.npy")
    link(tmp_path / "out" / "sub", folder)
    before = contents(tmp_path)
    output = "-o", tmp_path / "out", "--overwrite"
    made = tmp_path / "out" / "sub"
    error = run(capsys, "marginals", folder, *NOISE[:4], *output, code=2)
    assert f"{made / 'a.npy'}: expected another file than the input" in error
    error = run(capsys, "sample", folder, *NOISE, *output, code=2)
    assert f"would be made into {made / 'a_noisy000.npy'}, which is among the input" in error
    assert contents(tmp_path) == before


def test_notes_that_are_not_a_file(folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out" / NOTES).mkdir(parents=True)
    for options in ([], ["--overwrite"]):
        error = run(capsys, "sample", folder, "-o", tmp_path / "out", *NOISE, *options, code=2)
        assert f"{tmp_path / 'out' / NOTES}: cannot be read: Is a directory" in error


def test_notes_are_no_orders(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Whatever the lines say, the command ends in words, and nothing is written outside."""
    out = tmp_path / "out"
    arguments = "sample", folder, "-o", out, *NOISE
    run(capsys, *arguments)
    lines = (out / NOTES).read_bytes().splitlines()
    row = json.loads(lines[1])
    random = np.random.default_rng(0)
    values: list[Any] = [None, 3, "", "x" * 5000, "../../in/a.npy", "\x00", [], {"a": []}, 1e400]
    for trial in range(60):
        broken = dict(row)
        key = sorted(row)[trial % len(row)]
        broken[key] = values[random.integers(len(values))]
        head = {"command": "sample", "settings": values[random.integers(len(values))]}
        text = "\n".join(map(json.dumps, [head, broken] * 2))
        (out / NOTES).write_text(text)
        before = contents(out) | contents(folder)
        code = cli.main([str(one) for one in arguments])
        assert code == 2
        assert "choose another folder" in capsys.readouterr().err
        assert contents(out) | contents(folder) == before
