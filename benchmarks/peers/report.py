"""The report's section on peers, from the JSON of `run.py`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
TITLES = {
    "noise": "Noisy labels",
    "marginals": "Marginals",
    "decisions": "Dice-optimal masks",
    "svls": "SVLS",
    "staple": "STAPLE",
}
STRUCTURES = {"ball": "a ball", "organs": "fourteen classes"}
WHY = {  # what a peer does better, and how
    "elasticdeform": "elasticdeform interpolates its nodes at each voxel, straight into the result;"
    " gfnoise holds parts of its Fourier sums beside it, for speed.",
}
RUN = """\
python -m venv elastic && elastic/bin/pip install elasticdeform scipy "numpy<2"
python -m venv torchio2 && torchio2/bin/pip install "torchio>=2.0.0a2"
pip install -e ".[bench]" && python benchmarks/peers/run.py \\
    --python elasticdeform=elastic/bin/python --python torchio2=torchio2/bin/python"""


def section(path: Path) -> list[str]:
    """The lines of the section; none without a run."""
    if not path.exists():
        return []
    run = json.loads(path.read_text())
    lines = ["## Peers", "", *_introduction(run), ""]
    for device in ("cpu", "cuda"):
        for kind, title in TITLES.items():
            rows = [r for r in run["rows"] if r["work"]["kind"] == kind and r["device"] == device]
            if rows:
                where = f" on {run['machine']['gpu']}" if device == "cuda" else ""
                lines += [f"### {title}{where}", "", *_tables(kind, rows), ""]
    if not run["machine"]["gpu"]:
        lines += ["No GPU here: the peers' rows on one are left out.", ""]
    if run["laws"]:
        lines += ["### What is drawn", "", *_laws(run), ""]
    return lines + _misses(run["rows"])


def _introduction(run: Row) -> list[str]:
    machine, commit = run["machine"], run["commit"]
    packages = sorted({r["package"] for r in run["rows"] if "package" in r}, key=str.lower)
    return [
        "Other libraries on the same work, as `peers/table.py` lists it and `peers/adapters/`",
        "calls it: `results/peers.json`, made by",
        "",
        "```",
        RUN,
        "```",
        "",
        "Each library is in a process of its own, with the machine's threads, beside a process of",
        "gfnoise. Results are compared, then both are called in turns. A cell is the median in ms",
        "and how many times gfnoise's in the same turns that is; gfnoise's own row is the median",
        "over the pairs. Memory, in MiB, is the peak of the process during a call over what it",
        "held before, the result included. The noise to match: white noise under a Gaussian filter",
        "of 1/16 of the side (8 voxels at 128³), scaled to a standard deviation of 1/32 of it (4",
        "voxels); its length scale is sqrt 2 times the filter's width. Interpolation is to the",
        "nearest voxel but for Listing 2 and nnU-Net's way, which gfnoise meets with `order=1`.",
        "",
        f"- machine: {machine['cpu']}, {machine['threads']} threads, {machine['system']}, "
        f"Python {machine['python']}",
        f"- versions: gfnoise {run['gfnoise']}, {', '.join(packages)}",
        f"- commit: {commit['id'][:12]}{' with changes' if commit['dirty'] else ''}, "
        f"{run['datetime'][:10]}",
    ]


def _tables(kind: str, rows: list[Row]) -> list[str]:
    """Time and memory, per structure where there are several."""
    lines: list[str] = []
    structures = [one for one in STRUCTURES if any(r["work"]["structure"] == one for r in rows)]
    for structure in structures:
        of = [r for r in rows if r["work"]["structure"] == structure]
        name = f"{STRUCTURES[structure]}, " if kind in ("noise", "marginals") else ""
        lines += [*_pivot(f"{name}ms", of, _time, _our_time), ""]
        lines += [*_pivot(f"{name}MiB", of, _memory, _our_memory), ""]
    return lines[:-1]


def _pivot(
    corner: str,
    rows: list[Row],
    cell: Callable[[Row], str],
    ours: Callable[[list[Row]], str],
) -> list[str]:
    """Peers down, pieces of work across."""
    works = list(dict.fromkeys((r["work"]["side"], r["work"]["count"]) for r in rows))
    cells = {(r["peer"], r["work"]["side"], r["work"]["count"]): cell(r) for r in rows}
    head = [f"{f'{count} × ' if count > 1 else ''}{side}³" for side, count in works]
    lines = [f"| {corner} | {' | '.join(head)} |", f"|---|{'---:|' * len(head)}"]
    best = [
        ours([r for r in rows if (r["work"]["side"], r["work"]["count"]) == work and "ours" in r])
        for work in works
    ]
    lines.append(f"| **gfnoise** | {' | '.join(best)} |")
    for peer in dict.fromkeys(r["peer"] for r in rows):
        found = [cells.get((peer, *work), "") for work in works]
        lines.append(f"| {peer} | {' | '.join(found)} |")
    return lines


def _time(row: Row) -> str:
    if "failed" in row:
        return "–"
    return f"{_short(1e3 * row['theirs']['median'])} ({_short(row['ratio'])}×)"


def _our_time(rows: list[Row]) -> str:
    return _middle([1e3 * r["ours"]["median"] for r in rows])


def _memory(row: Row) -> str:
    size = row.get("theirs", {}).get("bytes")
    return "–" if size is None else _short(size / 2**20)


def _our_memory(rows: list[Row]) -> str:
    return _middle([r["ours"]["bytes"] / 2**20 for r in rows if r["ours"]["bytes"] is not None])


def _middle(values: list[float]) -> str:
    return f"**{_short(statistics.median(values))}**" if values else "–"


def _short(value: float) -> str:
    """About three digits."""
    digits = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def _laws(run: Row) -> list[str]:
    """The displacement's law, and what becomes of labels."""
    side = run["settings"]["law_side"]
    lines = [
        f"The displacement as applied, at {side}³, over what was asked for: standard deviation in",
        "the middle, at a face and at a corner (1 everywhere: stationary up to the border),",
        "correlation length (long: above half of the side); the share of a ball's voxels that",
        "changed at the largest size that ran; the dtype that comes back for uint8; which classes",
        "appear beside {0, 1, 4}; whether a seed gives the same label again, in the same and in",
        "another process.",
        "",
        "| | middle | face | corner | length | draws | changed | uint8 gives | new classes "
        "| repeats |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|---|",
    ]
    for law in run["laws"]:
        if "failed" in law:
            lines.append(f"| {law['peer']} |{' – |' * 9}")
            continue
        whose = "ours" if law["peer"] == "gfnoise" else "theirs"
        found = [
            r[whose]
            for r in run["rows"]
            if r["work"]["kind"] == "noise"
            and r["work"]["structure"] == "ball"
            and whose in r
            and (whose == "ours" or (r["peer"] == law["peer"] and r["device"] == "cpu"))
        ]
        last = found[-1] if found else {"changed": float("nan"), "dtype": "?"}
        cells = [
            law["peer"],
            *(f"{law[name]:.2f}" for name in ("middle", "face", "corner")),
            "long" if law["length"] is None else f"{law['length']:.2f}",
            str(law["draws"]),
            f"{last['changed']:.1%}",
            last["dtype"],
            ", ".join(f"{v:g}" for v in law["invented"]) or "none",
            "yes" if law["same_in_processes"] else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _misses(rows: list[Row]) -> list[str]:
    """Where a peer is better, and where there is no figure."""
    found = [r for r in rows if "failed" not in r]
    slower = [f"{_name(r)} ({_short(r['ratio'])}×)" for r in found if r["ratio"] < 1]
    larger = [_name(r) for r in found if (r["ours"]["bytes"] or 0) > (r["theirs"]["bytes"] or 1e99)]
    lines: list[str] = []
    for title, names in (("A peer is faster", slower), ("A peer needs less memory", larger)):
        lines += [f"{title}: {'; '.join(names) or 'nowhere'}.", ""]
    lines += [f"{why}\n" for name, why in WHY.items() if any(name in one for one in larger)]
    reasons: dict[str, list[str]] = {}
    for r in rows:
        if "failed" in r:
            reasons.setdefault(f"{r['peer']}: {r['failed']}", []).append(_work(r))
    if reasons:
        lines += ["No figure:", ""]
        lines += [f"- {reason} ({', '.join(works)})" for reason, works in reasons.items()]
        lines.append("")
    return lines


def _name(row: Row) -> str:
    return f"{row['peer']}, {_work(row)}"


def _work(row: Row) -> str:
    work = row["work"]
    times = f"{work['count']} × " if work["count"] > 1 else ""
    return f"{TITLES[work['kind']].lower()} {times}{work['side']}³ {work['structure']}"
