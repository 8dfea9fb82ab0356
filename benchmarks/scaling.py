"""How `sample_labels` scales: tables and a picture of the cases of bench_scaling.py."""

from collections import defaultdict
from pathlib import Path

from measured import Case, Run

# What is varied, by the name of the test: the parameter along x, and what it is.
VARIED = {
    "voxels": ("side", "voxels per side of a cube"),
    "items": ("items", "items of 64³"),
    "classes": ("classes", "classes, the same borders"),
    "length_scale": ("length_scale", "length scale, voxels"),
    "threads": ("side", "voxels per side of a cube"),
}

Lines = dict[str, dict[int, Case]]  # by name: cases by what is varied


def lines(run: Run) -> dict[str, Lines]:
    """The cases of each test, one line per order or number of threads."""
    found: dict[str, Lines] = defaultdict(lambda: defaultdict(dict))
    for case in run.cases:
        test = case.name.partition("[")[0]
        if case.stem == "scaling":
            params = dict(case.params)
            x = params.pop(VARIED[test][0])
            found[test][_name(**params)][x] = case
    return found


def _name(order: int | None = None, threads: int | None = None) -> str:
    if threads is None:
        return f"order {order}"
    return f"{threads} thread{'s' * (threads > 1)}"


def bandwidth(run: Run) -> float:
    """GB/s that a copy of the largest labels moves: a byte read and a byte written per voxel."""
    cases = [case for line in lines(run)["voxels"].values() for case in line.values()]
    return 2 / max(cases, key=lambda case: case.params["side"]).copy_ns


def tables(run: Run) -> list[str]:
    """A table per test: a column for each size."""
    rows: list[str] = []
    for test, drawn in lines(run).items():
        last = next(reversed(drawn.values()))
        rows += [
            _row(VARIED[test][1], [str(x) for x in last]),
            _row("---", ["---:"] * len(last)),
            *(
                _row(f"{name}, ns/voxel", [f"{c.ns:.2f}" for c in line.values()])
                for name, line in drawn.items()
            ),
            _row("a copy, ns/voxel", [f"{case.copy_ns:.2f}" for case in last.values()]),
            _row("extra B/voxel", [f"{case.bytes:.2f}" for case in last.values()]),
            "",
        ]
    return rows


def _row(head: str, cells: list[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def plot(run: Run, path: Path) -> None:
    """Time and extra memory per voxel; the picture says what it was made from."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    axes = figure.subplots(2, len(VARIED), sharex="col", sharey="row")
    for column, (test, drawn) in zip(axes.T, lines(run).items(), strict=True):
        for color, (name, line) in enumerate(drawn.items(), 2 * (test == "threads")):
            style = {"color": f"C{color}", "label": name}
            column[0].plot(list(line), [case.ns for case in line.values()], "o-", **style)
            column[1].plot(list(line), [case.bytes for case in line.values()], "o-", **style)
        copies = [case.copy_ns for case in line.values()]  # of the last: by all threads
        column[0].plot(list(line), copies, "--", color="grey", label="a copy")
        column[0].set_title(test.replace("_", " "))
        column[1].set_xlabel(VARIED[test][1])
        column[0].set_xscale("log", base=2)
        column[0].set_xticks(list(line), [str(x) for x in line])
        column[0].minorticks_off()
    for row, label in zip(axes, ("ns per voxel", "extra bytes per voxel"), strict=True):
        row[0].set(yscale="log", ylabel=label)
        row[0].yaxis.set_major_formatter("{x:g}")
        for panel in row:
            panel.grid(alpha=0.3)
    for panel in (axes[0, 0], axes[0, -1]):
        panel.legend(fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Description": source(run)})


def source(run: Run) -> str:
    """What a picture is made from."""
    return f"commit {run.commit}, {run.date}"
