"""The texts that commands print of their results."""

from __future__ import annotations

from typing import Any

import pytest

from gfnoise.cli import _reports


@pytest.mark.parametrize(
    ("units", "volume", "told"),
    [
        (["mm³", "mm³"], "24", "Volumes in mm³."),
        (["mm²", "mm³"], "12", "Volumes in voxels."),
        (["mm³", None], "12", "Volumes in voxels."),
    ],
)
def test_volumes_of_a_table_are_in_one_unit(
    units: list[str | None], volume: str, told: str
) -> None:
    numbers = dict.fromkeys(("volume", "mean_volume", "volume_at_half"), 12)
    shares = dict.fromkeys(("threshold", "dice", "dice_at_half"), 0.5)
    rows: list[dict[str, Any]] = [
        {"input": "a.nii", **numbers, **shares, "voxel_volume": 2.0, "unit": unit, "outputs": []}
        for unit in units
    ]
    text = _reports.TEXT["threshold"]({"files": rows, "failed": []})
    assert told in text
    assert text.splitlines()[1].split()[3] == volume
