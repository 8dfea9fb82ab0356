"""What the command line prints: help, names, progress, and where nobody reads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import NOISE, labels_in
from gfnoise import cli
from gfnoise.cli import _commands, _parser

pytest.importorskip("nibabel")


def test_help_of_every_command(capsys: Any) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for name in _parser.COMMANDS:
        assert re.search(rf"^    {name}\b", text, re.M)
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert "--json" in capsys.readouterr().out
    assert set(_parser.COMMANDS) == set(_commands.RUN)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_names_and_terminals_beyond_unicode(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / os.fsdecode(b"\xff.npy"), np.full((4, 4), 0.25))
    for arguments in (
        ["threshold", str(folder)],
        ["fuse", "--help"],
        ["threshold", str(folder), "-o", str(tmp_path / "out")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gfnoise", *arguments],
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff.npy" in done.stdout
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) == {b".gfnoise.jsonl", b"\xff.npy"}
    assert _commands._seed(0, "\udcff.npy", 0) != _commands._seed(0, "?.npy", 0)


def unread(output: str, *arguments: str) -> tuple[int, str]:
    """Exit status and errors of a command whose stdout nobody reads, is full, or is closed."""
    # Where nothing is buffered, argparse itself sees that its help is not read, and says nothing.
    environment = {key: one for key, one in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-W", "error", "-m", "gfnoise", *arguments]
    if output == "pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open("/dev/full", os.O_WRONLY)
    try:
        close = ["sh", "-c", 'exec "$@" >&-', "sh"] if output == "closed" else []
        done = subprocess.run(
            [*close, *command],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [("pipe", 141, ""), ("full", 2, "No space left on device"), ("closed", 0, "")],
)
def test_outputs_that_cannot_be_written(
    output: str, code: int, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "m.npy", np.full((4, 5), 0.5))
    arguments = "threshold", str(tmp_path / "in"), "--json"
    helps = [] if output == "closed" else [["--help"], []]  # argparse turns to stderr
    for given, prefix in ((arguments, " threshold"), *((one, "") for one in helps)):
        expected = f"gfnoise{prefix}: stdout cannot be written: {reason}\n" if reason else ""
        assert unread(output, *given) == (code, expected)
    np.save(tmp_path / "in" / "x.npy", np.full((4, 5), 2.0))  # what failed is told all the same
    status, errors = unread(output, *arguments)
    assert status == 2
    assert "x.npy: expected probabilities" in errors.splitlines()[-1]


def test_what_help_and_version_import() -> None:
    code = """
import sys
from gfnoise.cli import main
main([])
heavy = {"numba", "scipy", "torch", "matplotlib", "nibabel", "nrrd", "tqdm"}
sys.exit(len(heavy & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("with_tqdm", [True, False])
def test_progress_is_shown_on_a_terminal_alone(
    with_tqdm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = labels_in(tmp_path / "in")
    if with_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    cli.main(["sample", str(folder), "-o", str(tmp_path / "x"), *NOISE, "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)["files"]
    assert re.search("3/3" if with_tqdm else "3 of 3 files", err)
    cli.main(["sample", str(folder), "-o", str(tmp_path / "y"), *NOISE, "--quiet"])
    assert capsys.readouterr().err == ""
