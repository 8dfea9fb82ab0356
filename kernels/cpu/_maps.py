"""How maps, (maps, voxels), are cut into tasks, and a task's voxels into blocks."""

from . import _pool

CHUNK = 1 << 18
"""Voxels of a task, of one map or of several."""

BLOCK = 64
"""Voxels that are looked at together."""


def parts(maps, voxels):
    """Cut (maps, voxels) into tasks: (first map, last, first voxel, last)."""
    if voxels > CHUNK:
        return [(m, m + 1, *slab) for m in range(maps) for slab in _pool.slabs(voxels, CHUNK)]
    return [(*some, 0, voxels) for some in _pool.slabs(maps, max(1, CHUNK // max(1, voxels)))]
