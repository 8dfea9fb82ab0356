"""The comparison with other libraries: its runner, its measurements and its report."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limits import LIMIT
from peers import quality, report, run
from peers.adapters import gfnoise_
from peers.table import PEERS, Peer, works
from peers.works import Work, matched, verify

SIDE = 16
LISTING = Peer("Listing 2", "noise", "scipy_.noise", "scipy", order=1)
BROKEN = """
import os, time

def dies(*arguments):
    os._exit(3)

def sleeps(*arguments):
    time.sleep(60)

def is_wrong(masks):
    return lambda seed: masks[0] + 0.25

def refuses(*arguments):
    raise ValueError("no such field\\nand more")
"""


def settings(**given: Any) -> argparse.Namespace:
    usual = {"sides": (SIDE,), "budget": 0.0, "limit": 60.0, "timeout": 100.0, "law": 0.0}
    return argparse.Namespace(**{**usual, "interpreters": {}, **given})


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(run, "ADAPTERS", "")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Of one peer that is too slow for anything beyond its first piece of work."""
    return list(run.compare(LISTING, settings(limit=0.0)))


def test_a_row_is_verified_and_timed(rows: list[dict[str, Any]]) -> None:
    row = rows[0]
    assert row["work"] == {"kind": "noise", "side": SIDE, "count": 1, "structure": "ball"}
    assert row["ours"]["dtype"] == "uint8"
    assert row["theirs"]["dtype"] == "float64"
    for whose in ("ours", "theirs"):
        one = row[whose]
        assert 0 < one["changed"] < 0.5
        assert 0 < one["quartiles"][0] <= one["median"] <= one["quartiles"][1]
        assert one["rounds"] == 1  # the budget was spent
    assert row["ratio"] == row["theirs"]["median"] / row["ours"]["median"]
    json.dumps(rows, allow_nan=False)


def test_what_would_take_too_long_is_not_run(rows: list[dict[str, Any]]) -> None:
    ran = [(row["work"]["count"], row["work"]["structure"]) for row in rows if "ratio" in row]
    assert ran == [(1, "ball"), (1, "organs")]
    assert all(row["failed"].startswith("not run: about ") for row in rows[2:])
    assert len(rows) == 4


def test_turns_fill_the_budget() -> None:
    assert [run.rounds(1.0, turn) for turn in (2.0, 1.0, 0.2, 1e-3)] == [0, 3, 5, 15]


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ("broken.dies", "ended with 3: no word"),
        ("broken.refuses", "ValueError: no such field"),
        ("broken.is_wrong", "its result differs by "),
        ("broken.absent", "AttributeError: module 'broken' has no attribute 'absent'"),
        ("absent.noise", "ModuleNotFoundError: No module named 'absent'"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_a_peer_that_fails_is_a_row(adapter: str, reason: str) -> None:
    peer = Peer("broken", "staple", adapter, "scipy")
    (row,) = run.compare(peer, settings())
    assert row["peer"] == "broken"
    assert row["failed"].startswith(reason)
    assert "ratio" not in row


@pytest.mark.usefixtures("broken")
def test_a_peer_that_does_not_answer_is_left() -> None:
    peer = Peer("broken", "staple", "broken.sleeps", "scipy")
    with run.Process(peer, settings()) as one:
        one.timeout = 0.2
        with pytest.raises(run.Failed, match=r"^no answer in 0.2 s$"):
            one.ask("make", **Work("staple", SIDE, 4).describe())


def test_an_interpreter_of_its_own(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho another one >&2\nexit 4\n")
    python.chmod(0o755)
    peer = Peer("elsewhere", "noise", "scipy_.noise", "scipy", interpreter="one")
    failed = run.describe(peer, settings(interpreters={"one": str(python)}))
    assert failed == {"peer": "elsewhere", "failed": "ended with 4: another one"}


def test_an_interpreter_of_its_own_needs_no_gfnoise() -> None:
    code = "import sys; sys.modules['gfnoise'] = None; import peers.works, peers.worker"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(run.FOLDER).parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: f"{p.kind}-{p.name}-{p.device}")
def test_the_table_names_adapters(peer: Peer) -> None:
    module, name = peer.adapter.split(".")
    path = Path(run.FOLDER, "adapters", f"{module}.py")
    functions = {
        n.name: n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)
    }
    assert name in functions
    takes = [one.arg for one in functions[name].args.args]
    assert ("device" in takes) or peer.device == "cpu"


HERE = [
    one
    for one in PEERS
    if one.device == "cpu" and not one.interpreter and "compiled" not in one.adapter
]


@pytest.mark.parametrize("peer", HERE, ids=lambda p: f"{p.kind}-{p.name}")
def test_adapters_do_the_work(peer: Peer) -> None:
    module, name = peer.adapter.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        try:
            adapter = getattr(importlib.import_module(f"peers.adapters.{module}"), name)
        except ImportError as error:
            pytest.skip(str(error).splitlines()[0])
        fit = [
            w for w in works(peer.kind, (2 * SIDE,)) if w.structure in (peer.works or w.structure)
        ]
        for work in {fit[0], fit[-1]}:
            arguments = work.arguments()
            theirs = adapter(*arguments)(3)
            theirs = np.stack([np.asarray(one) for one in theirs])
            if peer.kind == "noise":
                again = np.stack([np.asarray(one) for one in adapter(*arguments)(3)])
                np.testing.assert_array_equal(theirs, again)
                share = np.mean(theirs.reshape(arguments[0].shape) != arguments[0])
                assert 0 < share < 0.3
            else:
                ours = np.asarray(getattr(gfnoise_, peer.kind)(*arguments)(3))
                verify(work, ours, theirs, peer.tolerance)


def test_verify_tells_results_apart() -> None:
    work = Work("decisions", SIDE)
    (maps,) = work.arguments()
    best = gfnoise_.decisions(maps)(0)
    verify(work, best, best, 0.0)
    with pytest.raises(ValueError, match=r"^its result differs by .* from ours, more than 1e-05$"):
        verify(work, best, maps > 0.9, 1e-5)
    with pytest.raises(ValueError, match=r"^its result has shape \(16, 16, 16\), ours \(1, 16, "):
        verify(work, best, best[0], 1e-5)


@pytest.mark.parametrize("fill", [False, True], ids=["clamped", "filled"])
def test_law_of_a_shift(fill: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole image moved by one deviation, to and fro: read off exactly, wherever it is."""

    def adapter(images: np.ndarray, noise: Any) -> Any:
        side = images.shape[-1]

        def call(seed: int) -> list[np.ndarray]:
            shift = noise.std * np.random.default_rng(seed).choice([-1, 1], 3)
            points = np.indices(images.shape[1:]) + shift[:, None, None, None]
            inside = np.all((points >= 0) & (points <= side - 1), 0)
            value = _ramp(images[0], np.clip(points, 0, side - 1))
            return [np.where(inside, value, 0) if fill else value]

        return call

    monkeypatch.setattr(quality, "_DRAWS", 12)
    law = quality.law(adapter, 32, 100.0)
    assert law.pop("draws") == 12
    assert law.pop("length") is None
    assert law == pytest.approx({"middle": 1, "face": 1, "corner": 1}, abs=1e-4)


def _ramp(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An affine image at points."""
    origin = image[0, 0, 0]
    steps = [image[1, 0, 0] - origin, image[0, 1, 0] - origin, image[0, 0, 1] - origin]
    return origin + np.tensordot(steps, points, 1)


def test_law_of_the_listing_falls_towards_the_border() -> None:
    scipy_ = importlib.import_module("peers.adapters.scipy_")
    law = quality.law(scipy_.noise, 32, 1.0)
    assert law["corner"] < law["face"] - 0.1 < law["middle"] - 0.2
    ours = quality.law(gfnoise_.noise, 32, 1.0)
    assert ours["corner"] > 0.75
    assert ours["length"] == pytest.approx(1, abs=0.15)


def test_matched_noise_has_the_length_scale() -> None:
    noise = matched(128)
    assert (noise.sigma, noise.std) == (8, 4)
    white = np.random.default_rng(0).standard_normal((64, 4096))
    from scipy.ndimage import gaussian_filter1d

    field = gaussian_filter1d(white, noise.sigma, mode="wrap")
    lag = round(noise.length_scale)
    correlation = np.mean(field * np.roll(field, lag, 1)) / np.mean(field**2)
    assert correlation == pytest.approx(np.exp(-(lag**2) / (2 * noise.length_scale**2)), abs=0.02)


def test_run_writes_and_report_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    quick = Peer("Listing 3 (NumPy)", "decisions", "scipy_.decisions", "numpy")
    monkeypatch.setattr(run, "PEERS", [quick])
    monkeypatch.setattr(run, "gpu", lambda: None)
    path = tmp_path / "peers.json"
    run.main(["--json", str(path), "--sides", str(SIDE), "--budget", "0"])
    found = json.loads(path.read_text())
    assert [row["work"]["count"] for row in found["rows"]] == [1, 8]
    assert found["machine"]["threads"] > 0
    lost = {**rows[0], "ratio": 0.5, "package": "scipy 9.9"}
    law = dict.fromkeys(("middle", "face", "corner", "length"), 1.0)
    law |= {"peer": LISTING.name, "draws": 9, "invented": [2, 3], "same_in_processes": False}
    found["rows"] += [lost, *rows[1:]]
    found["laws"] = [law, {"peer": "another", "failed": "no"}]
    path.write_text(json.dumps(found))
    text = "\n".join(report.section(path))
    (faster,) = (line for line in text.splitlines() if line.startswith("A peer is faster: "))
    assert "Listing 2, noisy labels 16³ ball (0.50×)" in faster
    assert re.search(r"- versions: gfnoise \S+, numpy \S+, scipy \S+, scipy 9\.9$", text, re.M)
    assert "(noisy labels 4 × 16³ ball" in text  # the reason for a dash
    assert "| 2, 3 | no |" in text
    assert "| ms | 16³ | 8 × 16³ |" in text
    assert "No GPU here" in text
    assert report.section(tmp_path / "none.json") == []
