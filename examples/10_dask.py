"""Volumes that outgrow memory: noisy labels, marginals and the Dice-optimal mask, by dask and zarr.

    pip install -e ".[dask]" distributed zarr
    python examples/10_dask.py --size 1024

Chunk by chunk, by the processes of a cluster on this machine; what comes out is what one call on
the array in memory would give.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.distributed import Client
from numpy.typing import NDArray

from gfnoise import GaussianField, optimal_segmentation, optimal_threshold


def vessels(size: int, chunk: int) -> da.Array:
    """A bundle of winding tubes, made chunk by chunk."""

    def block(block_info: Any = None) -> NDArray[np.uint8]:
        z, y, x = np.ogrid[tuple(slice(*ends) for ends in block_info[None]["array-location"])]
        period = size / 4
        winding = (
            y + period / 5 * np.sin(2 * np.pi * z / size),
            x + period / 5 * np.cos(9 * z / size),
        )
        apart = [(one + period / 2) % period - period / 2 for one in winding]
        return (apart[0] ** 2 + apart[1] ** 2 < (period / 4) ** 2).astype(np.uint8)

    chunks = da.core.normalize_chunks(chunk, (size,) * 3)
    return da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.empty((0,) * 3, np.uint8))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=384, help="voxels per side (default: 384)")
    parser.add_argument("--chunk", type=int, default=128, help="of a chunk (default: 128)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary one)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        # One thread each: a task of gfnoise runs on one, and dask's workers share the cores.
        with Client(n_workers=args.workers, threads_per_worker=1, dashboard_address=None) as client:
            run(args.size, args.chunk, folder)
            used = client.run(peak_memory)
        print("peak memory of a worker:", *[f"{one:.0f} MiB" for one in used.values()])


def run(size: int, chunk: int, folder: Path) -> None:
    """Write the labels, and what becomes of them."""
    noise = GaussianField(amplitude=2.0, length_scale=size / 12, ndim=3)  # in voxels

    def stored(array: da.Array, name: str) -> da.Array:
        start = time.perf_counter()
        array.to_zarr(folder / f"{name}.zarr", overwrite=True)
        seconds = time.perf_counter() - start
        print(f"{name}.zarr: {array.nbytes / 2**20:.0f} MiB in {seconds:.1f} s")
        return da.from_zarr(folder / f"{name}.zarr")

    labels = stored(vessels(size, chunk), "labels")
    noisy = stored(noise.sample_labels(labels, seed=0), "noisy")
    # A threshold takes several passes over its map: stored, the map is not made anew in each.
    marginals = stored(noise.marginals(labels), "marginals")
    mask = stored(optimal_segmentation(marginals), "mask")
    threshold = optimal_threshold(marginals).compute()
    volumes = [int(one) for one in da.compute(labels.sum(), noisy.sum(), mask.sum())]
    print(f"Dice-optimal threshold {threshold:.4f}")
    print("voxels of the label {:_}, of a noisy one {:_}, of the mask {:_}".format(*volumes))

    # A corner, with all that can reach it, as one array in memory.
    part, rim = (slice(0, chunk),) * 3, (slice(0, min(size, chunk + 24)),) * 3
    small = noise.sample_labels(labels[rim].compute(), seed=0, window=rim, full_shape=labels.shape)
    print("a corner is the same as in memory:", np.array_equal(small[part], noisy[part].compute()))


def peak_memory() -> float:
    """Of this process, in MiB."""
    import resource  # of Linux and macOS

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
