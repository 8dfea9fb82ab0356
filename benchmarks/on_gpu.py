"""The report's section on a GPU, from the JSON of `bench_cuda.py`."""

import json
from pathlib import Path
from typing import Any

RUN = (
    "pytest benchmarks/bench_cuda.py --benchmark-enable --benchmark-only "
    "--benchmark-json=benchmarks/results/cuda.json"
)


def section(path: Path) -> list[str]:
    """The lines of the section; without a run, what makes one."""
    made = [
        "`results/cuda.json`, made by",
        "",
        "```",
        f'pip install -e ".[cuda13,test]" && {RUN}',
        "```",
        "",
    ]
    if not path.exists():
        return ["## On a GPU", "", "Not measured yet. It would be", *made]
    run = json.loads(path.read_text(encoding="utf-8"))
    races = [one for one in run["benchmarks"] if "on_gpu" in one["extra_info"]]
    about, commit = races[0]["extra_info"], run["commit_info"]
    return [
        "## On a GPU",
        "",
        f"{about['device']}, CUDA {about['cuda']} and driver {about['driver']}, CuPy "
        f"{about['cupy']}, commit {(about['commit'] or commit['id'])[:12]}, "
        f"{run['datetime'][:10]}:",
        *made,
        "By CUDA events, in turns with the reference and with what moves as many bytes. A replay",
        "is of a graph of the call: without the host. Extra memory is what CuPy's pool grows by in",
        "a first call.",
        "",
        "| case | against | ps/voxel | replayed | ratio | times the move | extra B/voxel "
        "| reference's |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(_row(one["name"].removeprefix("test_"), one["extra_info"]) for one in races),
        "",
    ]


def _row(name: str, info: dict[str, Any]) -> str:
    cells = [
        f"`{name}`",
        info["on_gpu"],
        f"{info['ps_per_voxel']:.2f}",
        f"{info['ps_per_voxel_replayed']:.2f}",
        f"**{info['against_reference']:.1f}**",
        f"{info['against_moving']:.1f}",
        f"{info['extra_bytes_per_voxel']:.2f}",
        f"{info['reference_bytes_per_voxel']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"
