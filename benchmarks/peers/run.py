"""Run every peer beside gfnoise: python benchmarks/peers/run.py

Each library lives in a process of its own, and so does gfnoise: they are called in turns, so that
what the machine does besides hits both. A peer that does not import, fails, or takes too long is a
row that says so.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(FOLDER.parent)

from peers.table import PEERS, Peer, works  # noqa: E402
from peers.works import Work, verify  # noqa: E402

ADAPTERS = "peers.adapters."
OURS = f"{ADAPTERS}gfnoise_."
SIDES = (64, 128, 256)
LAW_SIDE = 32
ROUNDS = 3, 15
REST = 0.02  # seconds between turns: threads that wait in a loop give up


class Failed(Exception):
    """Why there is no figure."""


class Process:
    """A `worker.Worker` elsewhere; a context."""

    def __init__(self, peer: Peer, settings: argparse.Namespace, ours: bool = False):
        self.timeout = settings.timeout
        python = sys.executable
        if peer.interpreter and not ours:
            python = settings.interpreters.get(peer.interpreter, python)
        paths = [FOLDER.parent, FOLDER.parents[1] / "examples", os.environ.get("PYTHONPATH", "")]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            [python, "-m", "peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        )
        options = {"order": peer.order} if ours and peer.kind == "noise" else {}
        self._start = {
            "adapter": OURS + peer.kind if ours else ADAPTERS + peer.adapter,
            "package": "gfnoise" if ours else peer.package,
            "device": peer.device,
            "options": options,
        }

    def __enter__(self) -> Process:
        try:
            self.version = self.ask("open", **self._start)
        except Failed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, do: str, **given: Any) -> Any:
        """What the worker's method `do` returns."""
        request = json.dumps({"do": do, **given}) + "\n"
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self._last_words()) from None
        if not select.select([self._process.stdout], [], [], self.timeout)[0]:
            self._process.kill()
            self._process.wait()
            raise Failed(f"no answer in {_seconds(self.timeout)}")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["answer"]

    def alive(self) -> bool:
        """Whether it still takes requests."""
        return self._process.poll() is None

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or ["no word"]
        return f"ended with {self._process.returncode}: {lines[-1]}"[:200]


def compare(peer: Peer, settings: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per piece of work."""
    pair, slowest = None, {}  # seconds per voxel, by structure
    with ExitStack() as stack:
        for work in works(peer.kind, settings.sides):
            if peer.works and work.structure not in peer.works:
                continue
            row = {"peer": peer.name, "device": peer.device, "work": work.describe()}
            try:
                expected = slowest.get(work.structure, 0) * work.voxels
                if expected > settings.limit:
                    raise Failed(f"not run: about {_seconds(expected)} a call")
                if pair is None:
                    theirs = stack.enter_context(Process(peer, settings))
                    pair = stack.enter_context(Process(peer, settings, ours=True)), theirs
                found = race(*pair, peer, work, settings.budget)
                slowest[work.structure] = found["theirs"]["median"] / work.voxels
                yield {**row, "package": f"{peer.package} {pair[1].version}", **found}
            except Failed as failed:
                yield {**row, "failed": str(failed)}
                if pair and not all(one.alive() for one in pair):  # a fresh start for what follows
                    stack.close()
                    pair = None


def race(ours: Process, theirs: Process, peer: Peer, work: Work, budget: float) -> dict[str, Any]:
    """Verify the first call, see the memory of the second, time the others in turns."""
    pair = {"ours": ours, "theirs": theirs}
    for one in pair.values():
        one.ask("make", **work.describe())
        one.ask("time", seed=0)
    found = check(ours, theirs, peer, work)
    second = {whose: one.ask("measure", seed=1) for whose, one in pair.items()}
    times = {whose: [one["seconds"]] for whose, one in second.items()}
    turns = rounds(budget, sum(one["seconds"] for one in second.values()))
    if turns:
        times = {whose: [] for whose in pair}
    for seed in range(turns):
        for whose, one in pair.items():
            time.sleep(REST)
            times[whose].append(one.ask("time", seed=seed))
    for whose, spent in times.items():
        low, median, high = np.quantile(spent, [0.25, 0.5, 0.75]).tolist()
        found[whose] |= {
            "median": median,
            "quartiles": [low, high],
            "rounds": len(spent),
            "bytes": second[whose]["bytes"],
        }
    return {**found, "ratio": found["theirs"]["median"] / found["ours"]["median"]}


def rounds(budget: float, turn: float) -> int:
    """As many turns as the budget has, within bounds; none if a single one is beyond it."""
    return 0 if turn > budget else int(np.clip(budget / turn, *ROUNDS))


def check(ours: Process, theirs: Process, peer: Peer, work: Work) -> dict[str, Any]:
    """Raise Failed if a result is not what it should be."""
    if work.kind == "noise":
        found = {"ours": ours.ask("summary"), "theirs": theirs.ask("summary")}
        for whose, one in found.items():
            if not 0 < one["changed"] < 0.5:
                raise Failed(f"{whose}: {one['changed']:.0%} of the voxels changed")
        if found["theirs"].pop("shape") != found["ours"].pop("shape"):
            raise Failed("the shape of the labels is not that of the input")
        return found
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for name, one in (("ours", ours), ("theirs", theirs)):
            path = Path(folder, f"{name}.npy")
            one.ask("save", path=str(path))
            results.append(np.load(path))
    try:
        verify(work, *results, peer.tolerance)
    except ValueError as error:
        raise Failed(str(error)) from None
    return {"ours": {}, "theirs": {}}


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def describe(peer: Peer, settings: argparse.Namespace, ours: bool = False) -> dict[str, Any]:
    """The law of its displacement, and what becomes of codes and seeds."""
    row: dict[str, Any] = {"peer": "gfnoise" if ours else peer.name}
    try:
        found = []
        for _ in range(2):
            with Process(peer, settings, ours) as one:
                found.append(one.ask("codes", side=LAW_SIDE))
                if len(found) == 2:
                    law = one.ask("law", side=LAW_SIDE, seconds=settings.law)
        same = found[0]["repeats"] and found[0].pop("digest") == found[1].pop("digest")
        return {**row, **law, **found[1], "same_in_processes": same}
    except Failed as failed:
        return {**row, "failed": str(failed)}


def machine() -> dict[str, Any]:
    """Where this runs."""
    import cpuinfo

    return {
        "cpu": cpuinfo.get_cpu_info().get("brand_raw", "?"),
        "threads": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "gpu": gpu(),
    }


def gpu() -> str | None:
    """Its name, where torch and CuPy have one."""
    code = "import cupy, torch; print(torch.cuda.get_device_name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> dict[str, Any]:
    """Of the repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(FOLDER), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return {"id": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}


def run(settings: argparse.Namespace) -> dict[str, Any]:
    """All rows; the file grows with each peer."""
    from tqdm import tqdm

    about = machine()
    peers = [one for one in PEERS if one.device == "cpu" or about["gpu"]]
    peers = [one for one in peers if settings.only in f"{one.kind}: {one.name}"]
    deforming = [one for one in peers if one.kind == "noise" and one.device == "cpu"]
    found: dict[str, Any] = {
        "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "commit": commit(),
        "gfnoise": importlib.metadata.version("gfnoise"),
        "settings": {"budget": settings.budget, "limit": settings.limit, "law_side": LAW_SIDE},
        "rows": [],
        "laws": [],
    }
    with tqdm(total=len(peers) + len(deforming), unit="peer") as bar:
        for peer in peers:
            bar.set_description(f"{peer.kind}: {peer.name}")
            found["rows"] += compare(peer, settings)
            write(found, settings.json, bar)
        for peer in deforming:
            bar.set_description(f"law: {peer.name}")
            found["laws"] += [] if found["laws"] else [describe(peer, settings, ours=True)]
            found["laws"].append(describe(peer, settings))
            write(found, settings.json, bar)
    return found


def write(found: dict[str, Any], path: Path, bar: Any) -> None:
    """Keep what there is so far."""
    path.write_text(json.dumps(found, indent=1) + "\n")
    bar.update()


def main(arguments: list[str] | None = None) -> None:
    """Read the settings, run, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=FOLDER.parent / "results" / "peers.json")
    parser.add_argument("--only", default="", help='rows with this in "kind: peer"')
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument("--budget", type=float, default=1.5, help="seconds of turns per row")
    parser.add_argument("--limit", type=float, default=6.0, help="seconds of a call, at most")
    parser.add_argument("--law", type=float, default=4.0, help="seconds of draws per law")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds of any answer")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the interpreter of a peer that needs one of its own: elasticdeform, torchio2",
    )
    settings = parser.parse_args(arguments)
    settings.interpreters = dict(one.split("=", 1) for one in settings.python)
    run(settings)


if __name__ == "__main__":
    main()
