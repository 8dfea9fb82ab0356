"""The example of raters and soft labels: its table, its pictures, its arguments."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lidc
from gfnoise import GaussianField

PATH = Path(__file__).parents[1] / "examples" / "04_raters_and_soft_labels.py"


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("raters_and_soft_labels", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def nodule() -> lidc.Nodule:
    z, y, x = np.ogrid[-7:7, -14:14, -14:14]
    ball = (2 * z) ** 2 + y**2 + x**2 < 64
    field = GaussianField(1.5, 5.0, spacing=(2.0, 1.0, 1.0), ndim=3)
    masks = field.sample_labels(ball, seed=0, n=4)
    return lidc.Nodule("LIDC-IDRI-0001", 0, 1, (1, 2, 3, 4), (2.0, 1.0, 1.0), (0, 0, 0), masks)


def test_soft_predictions_are_better(
    example: ModuleType, nodule: lidc.Nodule, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {name: np.mean(one, axis=0) for name, one in example.evaluate(nodule).items()}
    assert len(scores) == len(example.PREDICTIONS) == 10
    for soft, hard in [
        ("average (mOH)", "one rater"),
        ("all, SVLS (mSVLS)", "average (mOH)"),
        ("fitted noise", "majority"),
    ]:
        assert scores[soft][0] < scores[hard][0], (soft, hard)
    example.print_fits([nodule])
    assert "LIDC-IDRI-0001/0" in capsys.readouterr().out


def test_the_pictures_are_drawn(example: ModuleType, nodule: lidc.Nodule, tmp_path: Path) -> None:
    for figure in (example.draw_nodule(nodule), example.draw_figures_of_paper_004()):
        figure.savefig(tmp_path / "picture.png", dpi=40)
        assert (tmp_path / "picture.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodules", "0"], "argument --nodules: at least 1, got 0"),
        (["--nodules", "1", "--nodule", "LIDC-IDRI-0001/99"], "argument --nodule: no nodule 99"),
        (["--output", "no/such/folder"], "argument --output: no such folder: no/such/folder"),
    ],
)
def test_bad_arguments_are_refused(
    example: ModuleType,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        example.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
