"""Make README.md, the scaling plot and the top README's figures: python benchmarks/report.py"""

from pathlib import Path

import elsewhere
import measured
import on_gpu
import quotes
import scaling
from measured import Case, Run
from peers.report import section

FOLDER = Path(__file__).parent
TOP = FOLDER.parent / "README.md"
PICTURE = measured.RESULTS / "scaling.png"
RUN = (
    "pytest benchmarks --benchmark-enable --benchmark-only "
    "--benchmark-json=benchmarks/results/cpu.json"
)
HEADINGS = {
    "field": "Sampling",
    "interpolation": "Interpolation",
    "filters": "Filters and marginals",
    "thresholding": "Decisions",
    "volumes": "Volumes and expected scores",
    "torch": "The torch layer",
    "integrations": "Adapters",
    "softlabels": "Soft labels",
    "raters": "Raters",
    "metrics": "Metrics",
}
START_UP = {
    "import": "`import gfnoise`, beyond NumPy's import",
    "first_call": "the first `sample_labels` of a process, kernels in the cache",
    "compile": "`warm_up()`: compiling, once",
}


def main() -> None:
    """Read the JSON, write the Markdown, the picture and the figures."""
    run = measured.read()
    pages = {
        FOLDER / "README.md": report(run),
        TOP: quotes.put(TOP.read_text(encoding="utf-8"), run),
    }
    for path, text in pages.items():  # once all are made: a run without a case changes none
        path.write_text(text, encoding="utf-8")
    scaling.plot(run, PICTURE)


def report(run: Run) -> str:
    """The Markdown of a run."""
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
        "bytes per voxel; what torch or SimpleITK hold is not seen (–). Noise: amplitude 0.02,",
        "length scale 0.15/sqrt 2, in the unit cube; Listings as corrected in",
        "`examples/listings.py`. The structures are in `cases.py`. The figures of the top README",
        "are quoted from the same JSON: `quotes.py`.",
        "",
        f"- machine: {run.cpu}, {run.threads} threads, {run.system}",
        f"- versions: {run.versions}",
        f"- commit: {run.commit}, {run.date}",
        "",
    ]
    stems = {case.stem for case in run.races}
    for stem in [*HEADINGS, *sorted(stems - HEADINGS.keys())]:
        if stem in stems:
            races = [case for case in run.races if case.stem == stem]
            rows = adapters(races) if stem == "integrations" else table(races)
            lines += [f"## {HEADINGS.get(stem, stem)}", "", *rows, ""]
    lines += [f"Where the reference of another library is faster: {run.lost}.", ""]
    lines += [
        "## Scaling",
        "",
        "One thing is varied, the rest is a ball of 128³, order 0 and all threads. The floor is a",
        "copy of the labels by as many threads, in the same turns: a byte read and a byte written",
        f"per voxel, {scaling.bandwidth(run):.0f} GB/s for the largest.",
        "",
        "![Time and extra memory per voxel against voxels, items, classes, length scale and "
        "threads](results/scaling.png)",
        "",
        *scaling.tables(run),
        "## Start-up",
        "",
        "In processes of their own.",
        "",
        *start_up([case for case in run.cases if case.stem == "startup"]),
        "",
    ]
    lines += elsewhere.section(run, measured.read_alone(measured.ELSEWHERE))
    lines += on_gpu.section(measured.RESULTS / "cuda.json")
    lines += section(measured.RESULTS / "peers.json")
    return "\n".join(lines)


def table(races: list[Case]) -> list[str]:
    """One row per case."""
    rows = [
        "| case | reference | ms | reference ms | ratio | ns/voxel | extra B/voxel | reference's |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for case in races:
        digits = 2 if case.s > 1e-3 else 3
        extra, reference = case.bytes, case.info["reference_bytes_per_voxel"]
        cells = [
            f"`{case.name}`",
            case.info["reference"],
            f"{case.ms:.{digits}f}",
            f"{1e3 * case.info['reference_median']:.{1 if digits == 2 else 3}f}",
            f"**{case.ratio:.1f}**" if case.ratio > 1 else f"**{case.ratio:.2f}**",
            f"{case.ns:.2f}",
            f"{extra:.2f}" if extra >= 0 else "–",
            f"{reference:.1f}" if reference >= 0 else "–",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def adapters(races: list[Case]) -> list[str]:
    """One row per host: what it adds to the core's time, in all and beyond its own."""
    rows = [
        "One label of 128³ by an adapter in its host, by `GaussianField.sample_labels`, and by an",
        "idle transform: of the host's own base classes, it changes nothing. Each is timed after a",
        "call of the core. What is added is a share of the core's time; without the host, the time",
        "of the idle transform counts for none of it.",
        "",
        "| adapter | ms | core ms | idle ms | added | added without the host |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in races:
        core, idle = float(case.info["reference_median"]), case.info.get("idle_median")
        added = [case.s - core, *([] if idle is None else [case.s - core - idle])]
        cells = [
            f"`{case.name}`",
            f"{case.ms:.2f}",
            f"{1e3 * core:.2f}",
            "–" if idle is None else f"{1e3 * idle:.2f}",
            *(f"{one / core:.1%}" for one in added),
            *(["–"] if idle is None else []),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def start_up(cases: list[Case]) -> list[str]:
    """One row per step."""
    return [
        "| step | seconds |",
        "|---|---:|",
        *(f"| {START_UP[case.name]} | {case.s:.3g} |" for case in cases),
    ]


if __name__ == "__main__":
    main()
