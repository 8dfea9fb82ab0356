"""The report's section on a machine of another kind: its ratios, beside those of the suite."""

from measured import Run

STEMS = ("field", "interpolation", "filters", "thresholding")
RUN = (
    f"pytest {' '.join(f'benchmarks/bench_{stem}.py' for stem in STEMS)} "
    "--benchmark-enable --benchmark-only --benchmark-json=benchmarks/results/elsewhere.json"
)


def section(run: Run, other: Run) -> list[str]:
    """The lines of the section: what both runs measured against a reference."""
    here = {case.key: case for case in run.races}
    pairs = [(here[case.key], case) for case in other.races if case.key in here]
    return [
        "## On a machine of another kind",
        "",
        f"{other.cpu}, {other.threads} threads, {other.system}, commit {other.commit}, "
        f"{other.date}:",
        "`results/elsewhere.json`, made by",
        "",
        "```",
        f'pip install -e ".[bench]" && {RUN}',
        "```",
        "",
        "| case | reference | ratio above | ratio there | ms there |",
        "|---|---|---:|---:|---:|",
        *(
            f"| `{there.name}` | {there.info['reference']} | {ours.ratio:.1f} | "
            f"**{there.ratio:.1f}** | {there.ms:.2f} |"
            for ours, there in pairs
        ),
        "",
    ]
