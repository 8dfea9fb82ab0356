"""The experiment's report: tables, tests, pictures, from whole and from partial results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import evaluation
import make_report
import pictures
import tables
from experiment import TINY

CASES = 6


def write_results(root: Path, folds: int = 3, **change: object) -> None:
    """Results of made-up networks: SD is 0.1 better than CE at 1/2, CE(m) 0.01 better than SD."""
    rng = np.random.default_rng(0)
    gains = {"half": 0.0, "optimal": 0.11, "theory_half": -0.05, "theory_optimal": 0.2}
    for fold in range(folds):
        easy = rng.uniform(0.3, 0.6, CASES)
        for noise in (0.0, 0.03):
            for loss in ("ce", "soft-dice"):
                settings = dataclasses.replace(
                    TINY, fold=fold, folds=5, noise=noise, loss=loss, **change
                )
                scores = {
                    f"{how}_{against}": easy
                    + (noise > 0) * gain
                    + 0.1 * (loss != "ce") * (noise > 0)
                    for how, gain in gains.items()
                    for against in ("noisy", "clean", "marginal")
                }
                names = ("brier", "brier_constant", "brier_noisy", "brier_noise")
                scores |= dict.fromkeys(names, np.full(CASES, 0.01))
                reliability = {
                    "voxels": np.full(evaluation.BINS, 100.0),
                    "probability": np.linspace(0, 100, evaluation.BINS),
                    "marginal": np.linspace(0, 90, evaluation.BINS),
                    "labels": np.linspace(0, 80, evaluation.BINS),
                }
                result = {
                    "scores": {k: v.tolist() for k, v in scores.items()},
                    "reliability": {k: v.tolist() for k, v in reliability.items()},
                    "cases": [str(index) for index in range(CASES)],
                }
                evaluation.save(root / settings.name / "result.json", settings, result, [])


@pytest.fixture
def root(tmp_path):
    write_results(tmp_path / "runs")
    return tmp_path / "runs"


def test_the_table_has_all_runs(root, capsys):
    assert make_report.main(["table", str(root)]) == 0
    text = capsys.readouterr().out
    (row,) = [line for line in text.splitlines() if line.startswith("| esophagus | 0.03 | 3 |")]
    entries = [part.strip() for part in row.split("|")[4:-1]]
    means = [float(entry.split()[0]) for entry in entries[:5]]
    np.testing.assert_allclose(np.diff(means[:3]), (0.1, 0.01), atol=1e-4)
    assert entries[5] == "0.1441, 0.3105, 0.3489"
    assert "| esophagus | 0 | 3 |" in text
    assert "0.8552, 0.8603, 0.8602" in text
    make_report.main(["table", str(root), "--against", "clean"])
    assert "0.1441" not in capsys.readouterr().out  # the paper's are those of noisy labels


def test_means_and_errors_are_over_folds(root):
    table = tables.cells(tables.load_results(root))
    cell = table["esophagus", 0.03]["CE(1/2)"]
    means = [scores.mean() for scores in cell.folds.values()]
    assert cell.mean == pytest.approx(np.mean(means))
    assert cell.error == pytest.approx(np.std(means, ddof=1) / np.sqrt(3))


def test_comparisons_have_a_difference_and_its_significance(root, capsys):
    make_report.main(["table", str(root)])
    lines = capsys.readouterr().out.splitlines()
    (high,) = [one for one in lines if "| 0.03 | SD(1/2) - CE(1/2) |" in one]
    assert "+0.1000 ± 0.0000" in high
    assert "| 18 |" in high
    assert float(high.split("|")[-2]) < 1e-3  # all of one sign
    (none,) = [one for one in lines if "| 0 | SD(1/2) - CE(1/2) |" in one]
    assert none.split("|")[-2].strip() == "1.0e+00"


def test_the_papers_table():
    """As printed: twelve rows; CE(m) or SD is best in each noisy one."""
    assert len(tables.PAPER) == 12
    assert all(max(row[1:]) > row[0] for (_, a), row in tables.PAPER.items() if a)
    assert tables.PAPER["esophagus", 0.03] == (0.1441, 0.3105, 0.3489)


def test_partial_results_are_shown(root, capsys):
    """One loss alone, one fold alone: what there is is shown."""
    for path in root.glob("*_soft-dice_*"):
        (path / "result.json").unlink()
    for path in root.glob("*_fold[12]_*"):
        (path / "result.json").unlink(missing_ok=True)
    assert make_report.main(["table", str(root)]) == 0
    row = next(one for one in capsys.readouterr().out.splitlines() if "| 0.03 | 1 |" in one)
    assert row.split("|")[5].strip() == "-"
    assert "±" not in row


def test_one_saved_file_holds_all(root, tmp_path, capsys):
    make_report.main(["table", str(root)])
    expected = capsys.readouterr().out
    saved = tmp_path / "all.json"
    assert make_report.main(["save", str(root), "--output", str(saved)]) == 0
    assert make_report.main(["table", str(saved)]) == 0
    assert capsys.readouterr().out.endswith(expected)


def test_results_of_several_kinds_must_be_chosen(root, capsys):
    write_results(root, targets="marginal")
    assert make_report.main(["table", str(root)]) == 2
    error = capsys.readouterr().err
    assert "several results are CE(1/2) of esophagus" in error
    assert "fold 0: --where must choose" in error
    assert make_report.main(["table", str(root), "--where", "targets=marginal,size=16"]) == 0
    assert make_report.main(["table", str(root), "--where", "target=marginal"]) == 2
    assert "no setting is called target" in capsys.readouterr().err
    assert make_report.main(["table", str(root), "--where", "targets=ls"]) == 2
    assert "no result has targets=ls" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["curves", "calibration"])
def test_pictures_are_drawn(root, tmp_path, what, capsys):
    path = tmp_path / "picture.png"
    assert make_report.main([what, str(root), "--output", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"Picture: {path}" in capsys.readouterr().out


def test_curves_show_methods_theory_and_the_paper(root):
    table = tables.cells(tables.load_results(root))
    (axis,) = pictures.curves(table, "noisy").axes
    labels = {text.get_text() for text in axis.get_legend().get_texts()}
    expected = {*tables.METHODS, "theory 1/2", "theory Dice", "the paper's"}
    assert labels == expected
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    last = sorted(line.get_ydata()[-1] for line in crosses if len(line.get_ydata()))
    assert last == [0.1441, 0.3105, 0.3489]


def test_theory_of_phantoms(capsys):
    """Without noise every mask is the label; the Dice-optimal ones are never worse."""
    assert make_report.main(["theory", "--size", "32", "--count", "3"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 12
    for row in rows:
        half, dice = (float(entry.split()[0]) for entry in row[3:5])
        assert half == dice == 1 if float(row[2]) == 0 else half <= dice < 1
    assert rows[-1][5].strip() == "0.1441, 0.3105, 0.3489"


def test_calibration_needs_noise(root, capsys):
    assert make_report.main(["calibration", str(root), "--where", "noise=0.0"]) == 2
    assert "calibration curves need results with noise, got none" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["none", "npy", "png"])
def test_figure_1_of_any_shape(tmp_path, kind):
    path = tmp_path / f"shape.{kind}"
    mask = np.zeros((40, 30), np.uint8)
    mask[10:30, 8:20] = 1
    if kind == "npy":
        np.save(path, mask)
    elif kind == "png":
        from matplotlib.image import imsave

        imsave(path, mask, cmap="gray")
    output = tmp_path / "figure1.png"
    arguments = ["figure1", "--amplitudes", "0,0.03", "--output", str(output)]
    arguments += [] if kind == "none" else ["--shape", str(path)]
    assert make_report.main(arguments) == 0
    assert output.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_the_phantoms(tmp_path):
    output = tmp_path / "phantoms.png"
    assert make_report.main(["phantoms", "--size", "32", "--output", str(output)]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")


def test_figure_1_shows_the_model():
    mask = np.zeros((64, 64), bool)
    mask[20:44, 20:44] = True
    mask[31:33, 44:60] = True  # a thin arm
    images = [axis.images[0].get_array() for axis in pictures.figure_1(mask, (0.0, 0.04)).axes]
    assert all(np.array_equal(images[2 * row], mask) for row in range(4))  # a = 0: the shape
    samples, marginal, accuracy, dice = (images[2 * row + 1] for row in range(4))
    assert np.abs(samples - marginal).mean() < 0.1
    assert not accuracy[31:33, 52:].any()  # details disappear
    assert accuracy.sum() < dice.sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure1", "--shape", "nowhere.npy"], "nowhere.npy"),
        (["table", "nowhere"], "nowhere"),
        (["table", "empty"], "empty holds no result.json: has a network been trained?"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    assert make_report.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_bad_shapes_are_refused():
    for bad in (np.zeros((5, 5)), np.ones((4, 4, 4))):
        with pytest.raises(ValueError, match="the shape must be a 2D mask with some foreground"):
            pictures.figure_1(bad, (0.0,))


def test_results_of_another_version_are_refused(root):
    path = next(root.glob("*/result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(ValueError, match=r"holds results of version \{99\}, expected 1"):
        tables.load_results(root)
