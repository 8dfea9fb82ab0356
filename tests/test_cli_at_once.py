"""Commands that run at the same time in one folder, or are killed there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import IN_VOXELS as NOISE
from commands import MADE_NONE, NOTES, OTHER, REMEDY, contents, disk, disks_in, files, run
from gfnoise import cli, io
from gfnoise.cli import _jobs, _notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return disks_in(tmp_path / "in")


def test_the_same_command_twice_at_once(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first is at work, and is done before it."""
    arguments = "sample", folder, "-o", tmp_path / "out", *NOISE
    write, others = io.write_atomically, []

    def second(*args: Any) -> None:
        if not others:
            others.append(None)
            others[0] = cli.main([str(one) for one in arguments])
        write(*args)

    monkeypatch.setattr(io, "write_atomically", second)
    out = run(capsys, *arguments)
    assert others == [0]
    assert out.splitlines() == [
        "made 3 files from 3 of 3",
        "made 1 file from 1 of 3; nothing to do for 2: made before",
    ]
    assert run(capsys, *arguments) == MADE_NONE


def during(count: int, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> list[int]:
    """Let another command run to its end, when so many files were written; how it ended."""
    write, codes = io.write_atomically, []

    def second(*args: Any) -> None:
        nonlocal count
        count -= 1
        if count == -1:
            codes.append(cli.main([str(one) for one in arguments]))
        write(*args)

    monkeypatch.setattr(io, "write_atomically", second)
    return codes


@pytest.mark.parametrize("made", [0, 1, 2])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_two_settings_at_once(
    made: int,
    overwrite: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was first to make a file goes on, or who overwrites; the other ends, and says why."""
    out = tmp_path / "out"
    for i, options in enumerate((NOISE, OTHER)):
        run(capsys, "sample", folder, "-o", tmp_path / str(i), *options)
    codes = during(made, monkeypatch, "sample", folder, "-o", out, *OTHER, *overwrite)
    stays = bool(made and not overwrite)
    errors = run(capsys, "sample", folder, "-o", out, *NOISE, code=0 if stays else 2)
    was, now = (2.0, 3.0) if stays else (3.0, 2.0)
    error = f"{out}: holds results made otherwise (amplitude {was}, now {now}): {REMEDY}\n"
    assert codes == [2 if stays else 0]
    assert stays or errors == f"gfnoise sample: {error}"  # once: no other file is tried
    assert contents(out) == contents(tmp_path / str(int(not stays)))
    monkeypatch.undo()
    assert run(capsys, "sample", folder, "-o", out, *(NOISE if stays else OTHER)) == MADE_NONE


def test_two_commands_at_once_that_make_files_of_one_name(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, maps = tmp_path / "out", tmp_path / "maps"
    run(capsys, "marginals", folder, "-o", maps, *NOISE[:4])
    assert during(0, monkeypatch, "threshold", maps, "-o", out) == []
    error = run(capsys, "marginals", folder, "-o", out, *NOISE[:4], code=2)
    assert error.count(f"was not made by this command, but by 'threshold': {REMEDY}") == 3
    monkeypatch.undo()
    run(capsys, "threshold", maps, "-o", tmp_path / "masks")
    assert contents(out) == contents(tmp_path / "masks")


def test_a_file_gets_its_name_while_no_other_run_does(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    replace, tries = os.replace, 0

    def look(part: Path, target: Path) -> None:
        nonlocal tries
        tries += 1
        with (tmp_path / "out" / _notes.LOCK).open("rb") as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replace(part, target)

    monkeypatch.setattr(os, "replace", look)
    run(capsys, "sample", folder, "-o", tmp_path / "out", *NOISE)
    assert tries == 3

    def none(*args: Any) -> None:
        raise OSError(95, "Operation not supported")  # some file systems have no locks

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(fcntl, "flock", none)
    assert "made 3 files" in run(capsys, "sample", folder, "-o", tmp_path / "other", *NOISE)


def test_a_run_that_is_terminated_ends_as_by_the_keyboard(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `timeout`, `docker stop` and batch systems send; nothing is left of a file half made."""
    out, write, before = tmp_path / "out", np.save, signal.getsignal(signal.SIGTERM)

    def stop(stream: Any, *args: Any, **options: Any) -> None:
        write(stream, *args, **options)
        if len(list(out.rglob("*.npy"))) == 2:
            signal.raise_signal(signal.SIGTERM)

    arguments = "sample", folder, "-o", out, *NOISE
    monkeypatch.setattr(np, "save", stop)
    error = run(capsys, *arguments, code=143)
    assert error == "gfnoise sample: stopped; the same command goes on\n"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    assert files(out) == [NOTES, "a_noisy000.npy"]

    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:  # whoever calls `main` with a handler of its own keeps it
        monkeypatch.setattr(np, "save", stop)
        assert run(capsys, *arguments).startswith("made 2 files")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as threads:  # where no handler can be set
        code = threads.submit(cli.main, [str(one) for one in arguments]).result()
    assert code == 0


def test_what_a_killed_run_left_is_swept(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else: neither what a living run writes, nor files with other names."""
    pytest.importorskip("fcntl")
    out, put = tmp_path / "out", _notes.Notes.put
    arguments = "sample", folder, "-o", out, *NOISE
    other = [".gfnoise-x.npy", f".{'0' * 32}.npy", f".gfnoise-{'0' * 32}.txt"]
    names = [(f".gfnoise-{'0' * 32}", ".npy"), (f"sub/.gfnoise-{'1' * 32}", ".nii.gz")]
    left = [stem + end for stem, suffix in names for end in (suffix, ".lock")]
    for name in (*other, *left):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"a part")
    killed = """if True:
        import os, sys
        import numpy as np
        from gfnoise import io
        np.save = lambda *args, **options: os._exit(9)
        io.write(sys.argv[1], np.ones((3, 3)))
    """
    done = subprocess.run([sys.executable, "-c", killed, out / "x.npy"], check=False)
    assert done.returncode == 9
    assert len(list(out.rglob(".gfnoise-*"))) == 8
    run(capsys, *arguments)
    assert {path.name for path in out.rglob(".*")} == {NOTES, *other}

    def after_another(notes: Any, part: Path, *args: Any) -> None:
        monkeypatch.setattr(_notes.Notes, "put", put)
        assert cli.main([str(one) for one in arguments]) == 0
        assert re.fullmatch(r"\.gfnoise-[0-9a-f]{32}\.npy", part.name)
        assert part.is_file()
        put(notes, part, *args)

    (out / "b_noisy000.npy").unlink()
    monkeypatch.setattr(_notes.Notes, "put", after_another)
    assert "made 1 file" in run(capsys, *arguments)


def test_notes_are_read_on(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line once, where another run makes one file after the other just before."""
    count, lines = 20, 0
    for i in range(count):
        disk(5, tmp_path / "in" / f"{i:02}.npy")
    options = "-o", tmp_path / "out", *NOISE
    look, take = _jobs.Job.look, _notes.Notes._take

    def after_another(job: Any) -> None:
        with monkeypatch.context() as other:
            other.setattr(_jobs.Job, "look", look)
            other.setattr(_notes.Notes, "_take", take)
            assert cli.main([str(one) for one in ("sample", job.source, *options)]) == 0
        look(job)

    def note(notes: Any, row: Any) -> None:
        nonlocal lines
        lines += 1
        take(notes, row)

    monkeypatch.setattr(_jobs.Job, "look", after_another)
    monkeypatch.setattr(_notes.Notes, "_take", note)
    assert "nothing to do for 20" in run(capsys, "sample", tmp_path / "in", *options)
    assert lines == 1 + count
