"""Make README.md and the scaling plot from the JSON of a run: python benchmarks/report.py"""

import argparse
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RUN = (
    "pytest benchmarks --benchmark-enable --benchmark-only "
    "--benchmark-json=benchmarks/results/cpu.json"
)
HEADINGS = {
    "bench_field.py": "Sampling",
    "bench_interpolation.py": "Interpolation",
    "bench_filters.py": "Filters and marginals",
    "bench_thresholding.py": "Decisions",
    "bench_volumes.py": "Volumes and expected scores",
    "bench_torch.py": "The torch layer",
    "bench_softlabels.py": "Soft labels",
    "bench_raters.py": "Raters",
    "bench_metrics.py": "Metrics",
}


def main() -> None:
    """Read the JSON, write the Markdown and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=FOLDER / "results" / "cpu.json")
    run = json.loads(parser.parse_args().json.read_text())
    (FOLDER / "README.md").write_text(report(run))
    scaling = [b for b in run["benchmarks"] if b["name"].startswith("test_scaling")]
    if scaling:
        plot(scaling, FOLDER / "results" / "scaling.png")


def report(run: dict[str, Any]) -> str:
    """The Markdown of a run."""
    races = [b for b in run["benchmarks"] if "reference" in b["extra_info"]]
    machine = run["machine_info"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commit = run["commit_info"]
    lines = [
        "# Benchmarks",
        "",
        "Made by `python benchmarks/report.py` from the JSON in `results/`, which is made by",
        "",
        "```",
        f'pip install -e ".[bench]" && {RUN}',
        "```",
        "",
        "Each case is verified, then timed in turns with its reference; the ratio is that of the",
        "medians. Extra memory is what NumPy holds at most during a call beyond its result, in",
        "bytes per voxel. Noise: amplitude 0.02, length scale 0.15/sqrt 2, in the unit cube;",
        "Listings as corrected in `examples/listings.py`. The structures are in `cases.py`.",
        "",
        f"- machine: {machine['cpu'].get('brand_raw', '?')}, {machine['threads']} threads, "
        f"{machine['system']}, Python {machine['python_version']}",
        f"- versions: {versions}",
        f"- commit: {commit['id'][:12]}{' with changes' if commit['dirty'] else ''}, "
        f"{run['datetime'][:10]}",
        "",
    ]
    for file, heading in HEADINGS.items():
        lines += [f"## {heading}", "", *table([b for b in races if file in b["fullname"]]), ""]
    lost = [b for b in races if ratio(b) < 1]
    if lost:
        names = ", ".join(f"`{b['name'].removeprefix('test_')}`" for b in lost)
        lines += [f"Where the reference is faster: {names}.", ""]
    lines += ["![Time per voxel against the size of the volume](results/scaling.png)", ""]
    return "\n".join(lines)


def table(races: list[dict[str, Any]]) -> list[str]:
    """One row per case."""
    rows = [
        "| case | reference | ms | reference ms | ratio | ns/voxel | extra B/voxel | reference's |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for b in races:
        info, median = b["extra_info"], b["stats"]["median"]
        cells = [
            f"`{b['name'].removeprefix('test_')}`",
            info["reference"],
            f"{1e3 * median:.{2 if median > 1e-3 else 3}f}",
            f"{1e3 * info['reference_median']:.{1 if median > 1e-3 else 3}f}",
            f"**{ratio(b):.1f}**",
            f"{1e9 * median / info['voxels']:.2f}",
            f"{info['extra_bytes_per_voxel']:.2f}",
            f"{info['reference_bytes_per_voxel']:.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def ratio(b: dict[str, Any]) -> float:
    """How many times faster than the reference."""
    return float(b["extra_info"]["reference_median"] / b["stats"]["median"])


def plot(scaling: list[dict[str, Any]], path: Path) -> None:
    """Time per voxel against the side of a cube."""
    from matplotlib.figure import Figure

    sides = [b["params"]["size"] for b in scaling]
    times = [1e9 * b["stats"]["median"] / b["extra_info"]["voxels"] for b in scaling]
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(sides, times, "o-")
    axes.set(
        xscale="log",
        ylim=(0, None),
        xlabel="voxels per side of a cube",
        ylabel="ns per voxel",
        title="sample_labels, order 1, a ball",
    )
    axes.set_xticks(sides, [str(side) for side in sides], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
