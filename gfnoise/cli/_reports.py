"""What the commands print for people."""

from collections.abc import Callable
from typing import Any

Result = dict[str, Any]


def _files(result: Result) -> str:
    """How many files were made, and how many were there."""
    rows = result["files"]
    there = [row for row in rows if row.get("there_already")]
    made = sum(len(row.get("seeds", row["outputs"])) for row in rows if row not in there)
    files = "1 file" if made == 1 else f"{made} files"
    lines = [f"made {files} from {len(rows) - len(there)} of {len(rows)}"]
    if there:
        lines.append(f"nothing to do for {len(there)}: made before")
    if result["failed"]:
        lines.append(f"{len(result['failed'])} failed")
    return "; ".join(lines)


def _threshold(result: Result) -> str:
    rows = [row for row in result["files"] if "threshold" in row]
    if not rows:
        return _files(result) if result["files"] else f"{len(result['failed'])} failed"
    units = {row["unit"] for row in rows}
    unit = units.pop() if len(units) == 1 else None
    table = [["file", "threshold", "Dice", "volume", "mean volume", "Dice at 1/2", "volume at 1/2"]]
    for row in rows:
        voxel = row["voxel_volume"] if unit else 1
        volumes = (f"{row[key] * voxel:.6g}" for key in ("volume", "mean_volume", "volume_at_half"))
        volume, mean, half = volumes
        dice, dice_half = (f"{row[key]:.4f}" for key in ("dice", "dice_at_half"))
        threshold = f"{row['threshold']:.4f}"
        table.append([str(row["input"]), threshold, dice, volume, mean, dice_half, half])
    lines = [*_aligned(table), ""]
    lines.append(
        f"Volumes in {unit or 'voxels'}. Dice: D_m, with the probabilities in place of a label."
    )
    lines.append(
        "Mean volume: the sum of the probabilities. At 1/2: of the mask at probability 1/2."
    )
    if any(row["outputs"] for row in result["files"]):
        lines.append(_files(result))
    return "\n".join(lines)


def _aligned(table: list[list[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in table
    ]


def _fuse(result: Result) -> str:
    volumes = ", ".join(f"{one:g}" for one in result["rater_volumes"])
    return (
        f"{result['method']}: {result['output']}, {result['volume']:g} voxels of foreground "
        f"(the raters: {volumes})"
    )


def _fit(result: Result) -> str:
    unit = result["units"]
    return "\n".join(
        [
            f"amplitude     {result['amplitude']:.4g} ± {result['amplitude_error']:.2g} {unit}",
            f"length scale  {result['length_scale']:.4g} ± {result['length_scale_error']:.2g} "
            f"{unit}",
            f"in a command: --amplitude {result['amplitude']:.4g} --length-scale "
            f"{result['length_scale']:.4g}" + " --units voxels" * (unit == "voxels"),
        ]
    )


def _figure(result: Result) -> str:
    where = "" if result["slice"] is None else f" (slice {result['slice']})"
    return f"{result['output']}{where}"


def _cache(cache: Result) -> str:
    if cache["folder"] is None:
        return "compiled kernels: not kept"
    size = cache["bytes"] / 1e6
    return f"compiled kernels: {cache['files']} files, {size:.1f} MB in {cache['folder']}"


def _info(result: Result) -> str:
    lines = [
        f"gfnoise {result['gfnoise']}, Python {result['python']}, NumPy {result['numpy']}, "
        f"Numba {result['numba']}",
        f"{result['system']}, {result['cores']} cores",
        f"devices: {', '.join(result['devices'])}",
        _cache(result["cache"]),
        "",
    ]
    for row in result["optional"]:
        state = row["version"] or f"not installed: pip install '{row['install']}'"
        lines.append(f"{row['name']:24} {state:52} {row['for']}")
    return "\n".join(lines)


def _bench(result: Result) -> str:
    size = result["size"]
    lines = [f"{size} x {size} x {size} voxels, median of {result['repeats']}, taken in turns", ""]
    lines.append(f"{'':38} {'SciPy':>11} {'gfnoise':>11} {'ratio':>7}")
    for row in result["rows"]:
        lines.append(
            f"{row['name']:38} {1e3 * row['scipy_s']:8.1f} ms {1e3 * row['gfnoise_s']:8.2f} ms "
            f"{row['ratio']:6.1f}x"
        )
    lines += ["", f"{result['system']}, {result['cores']} cores; SciPy uses one"]
    return "\n".join(lines)


TEXT: dict[str, Callable[[Result], str]] = {
    "sample": _files,
    "marginals": _files,
    "threshold": _threshold,
    "fuse": _fuse,
    "fit": _fit,
    "figure": _figure,
    "info": _info,
    "bench": _bench,
}
