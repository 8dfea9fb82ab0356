"""What a run of the suite measured: its cases and its machine, read from the JSON."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ELSEWHERE = RESULTS / "elsewhere.json"  # of a machine of another kind
_OWN = {"torch", "integrations"}  # stems whose reference is the library itself


@dataclass(frozen=True)
class Case:
    """One benchmark: `sample_labels[64x64x64-0]` of the stem `field`."""

    stem: str
    name: str
    params: dict[str, Any]
    s: float  # seconds, the median
    info: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.stem}.{self.name}"

    @property
    def ratio(self) -> float:
        """How many times faster than the reference."""
        return float(self.info["reference_median"] / self.s)

    @property
    def ms(self) -> float:
        """Milliseconds."""
        return 1e3 * self.s

    @property
    def ns(self) -> float:
        """Nanoseconds per voxel."""
        return 1e9 * self.s / float(self.info["voxels"])

    @property
    def copies(self) -> float:
        """How many copies of the labels are made in this time."""
        return self.s / float(self.info["copy_median"])

    @property
    def copy_ns(self) -> float:
        """Nanoseconds per voxel of such a copy."""
        return self.ns / self.copies

    @property
    def bytes(self) -> float:
        """Extra memory per voxel."""
        return float(self.info["extra_bytes_per_voxel"])


@dataclass(frozen=True)
class Run:
    """A run of the suite, and what it ran on."""

    cases: list[Case]
    cpu: str
    threads: int
    system: str
    versions: str
    commit: str
    date: str

    @property
    def races(self) -> list[Case]:
        """What has a reference."""
        return [case for case in self.cases if "reference" in case.info]

    @property
    def lost(self) -> str:
        """Where the reference of another library is faster."""
        lost = [case for case in self.races if case.ratio < 1 and case.stem not in _OWN]
        return ", ".join(f"`{case.name}`" for case in lost) or "nowhere"


def read(path: Path = RESULTS / "cpu.json", peers: Path = RESULTS / "peers.json") -> Run:
    """Read the suite's run; for quotes, with cases of the stems peers and elsewhere."""
    run = read_alone(path)
    return replace(run, cases=run.cases + _peers(peers) + _elsewhere())


def read_alone(path: Path) -> Run:
    """Read the JSON of pytest-benchmark."""
    run = json.loads(path.read_text(encoding="utf-8"))
    machine, commit = run["machine_info"], run["commit_info"]
    versions = {"Python": machine["python_version"], **machine["versions"]}
    return Run(
        cases=[_case(one) for one in run["benchmarks"]],
        cpu=machine["cpu"].get("brand_raw", "unknown CPU"),
        threads=machine["threads"],
        system=machine["system"],
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        commit=commit["id"][:12] + (" with changes" if commit["dirty"] else ""),
        date=run["datetime"][:10],
    )


def _case(one: dict[str, Any]) -> Case:
    info = one["extra_info"]
    return Case(
        stem=Path(one["fullname"].partition("::")[0]).stem.removeprefix("bench_"),
        name=one["name"].removeprefix("test_"),
        params=one["params"] or {},
        s=info.get("seconds", one["stats"]["median"]),
        info=info,
    )


def _peers(path: Path) -> list[Case]:
    """What other libraries were measured on: `noise[MONAI Rand3DElastic-128-1-ball]` of `peers`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    cases = []
    for row in rows:
        if "failed" in row or row["device"] != "cpu":
            continue
        work = row["work"]
        name = f"{row['peer']}-{work['side']}-{work['count']}-{work['structure']}"
        info = {
            "reference_median": row["theirs"]["median"],
            "voxels": work["count"] * work["side"] ** 3,
        }
        case = Case("peers", f"{work['kind']}[{name}]", work, row["ours"]["median"], info)
        cases.append(case)
    return cases


def _elsewhere() -> list[Case]:
    """What was measured on the other machine; without a reference, in no table of this one."""
    cases = []
    for case in read_alone(ELSEWHERE).races:
        info = {name: value for name, value in case.info.items() if name != "reference"}
        cases.append(replace(case, stem="elsewhere", info=info))
    return cases
