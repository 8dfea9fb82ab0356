"""The experiment's data: phantoms, folders of NIfTI files, targets and augmentation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
nibabel = pytest.importorskip("nibabel")

import folders  # noqa: E402
import gfnoise  # noqa: E402
import samples  # noqa: E402
import targets  # noqa: E402
from experiment import TINY, main  # noqa: E402
from phantoms import ORGANS, Case, Phantoms  # noqa: E402
from settings import LENGTH_SCALE, TARGETS, Settings  # noqa: E402

HALF, SIZE = 12, 16  # of the scans after halving, and of patches


# Phantoms


@pytest.mark.parametrize("organ", ORGANS)
def test_phantoms_follow_from_their_seeds(organ):
    first, again = (Phantoms(organ, 3, 32, (1, 2)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
    labels = [case.label for case in first]
    assert not np.array_equal(labels[0], labels[1])
    assert not np.array_equal(labels[0], Phantoms(organ, 1, 32, (1, 3))[0].label)
    assert first[0].image.dtype == np.float32
    assert labels[0].dtype == np.uint8
    assert np.abs(first[0].image).max() <= 1
    assert len({case.name for case in first}) == 3


@pytest.mark.parametrize("organ", ORGANS)
def test_the_image_carries_the_clean_border(organ):
    """Intensities on both sides of the border differ by far more than their spread."""
    for case in Phantoms(organ, 4, 64):
        wide = gfnoise.gaussian_filter(case.label, 1.0) > 0.05
        wider = gfnoise.gaussian_filter(case.label, 2.0) > 0.02
        inside, outside = case.image[case.label == 1], case.image[wider & ~wide]
        gap = np.median(inside) - np.median(outside)
        assert gap > 2.5 * max(inside.std(), 0.06)


def test_sizes_of_the_organs():
    """Shares of the cube as volumes of real ones have in 64 voxels of 3 mm."""
    found = {o: np.mean([c.label.mean() for c in Phantoms(o, 6, 48)]) for o in ORGANS}
    assert 0.017 < found["kidney"] < 0.026
    assert np.pi * (4 / 64) ** 2 < found["aorta"] < 1.1 * np.pi * (5.5 / 64) ** 2
    assert np.pi * (2.3 / 64) ** 2 < found["esophagus"] < 1.2 * np.pi * (3 / 64) ** 2


def test_theory_of_the_thin_tube():
    """The closed form at the highest noise: Dice 0.21 at 1/2 and 0.47 at the optimum."""
    field = gfnoise.GaussianField(0.03, LENGTH_SCALE, spacing="unit", ndim=3)
    found = []
    for case in Phantoms("esophagus", 24, 32):
        marginal = field.marginals(case.label)
        masks = marginal >= 0.5, gfnoise.optimal_segmentation(marginal)
        found.append([float(gfnoise.score(mask, marginal)) for mask in masks])
    np.testing.assert_allclose(np.mean(found, 0), (0.21, 0.47), atol=0.05)


def test_bad_phantoms_are_refused():
    with pytest.raises(ValueError, match="organ must be one of kidney, aorta, esophagus, got 'li"):
        Phantoms("liver", 1, 32)
    with pytest.raises(ValueError, match="8 voxels a side at least, got 1 of size 4"):
        Phantoms("aorta", 1, 4)
    with pytest.raises(IndexError):
        Phantoms("aorta", 1, 32)[1]


# Folders


def volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write a NIfTI file of an array (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.5, 1.5, 1.5, 1]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), path)


def scan(root: Path, name: str, *, seed: int = 0) -> np.ndarray:
    """A case in TotalSegmentator's layout; its label, at full resolution."""
    rng = np.random.default_rng(seed)
    label = np.zeros((2 * HALF, 2 * HALF + 2, 2 * HALF + 1), np.uint8)
    z, y, x = rng.integers(4, 10, 3)
    label[z : z + 8, y : y + 6, x : x + 4] = 1
    image = (rng.normal(0, 5, label.shape) + 200 * label - 100).astype(np.int16)
    volume(root / name / "ct.nii.gz", image)
    volume(root / name / "segmentations" / "aorta.nii.gz", label)
    return label


def load(root: Path, organ: str = "aorta", **options: object) -> list[Case]:
    return folders.load_folder(root, folders.read_totalsegmentator, organ, SIZE, **options)


@pytest.fixture
def root(tmp_path):
    for index in range(3):
        scan(tmp_path / "data", f"s{index:04d}", seed=index)
    (tmp_path / "data" / "meta.csv").write_text("not a case")
    return tmp_path / "data"


def test_patches_at_half_resolution_about_the_middle(root):
    cases = load(root)
    assert [case.name for case in cases] == ["s0000", "s0001", "s0002"]
    for index, case in enumerate(cases):
        assert case.image.shape == case.label.shape == (SIZE,) * 3
        middle = np.argwhere(case.label).mean(0)
        assert np.abs(middle - (SIZE - 1) / 2).max() <= 0.5
        label = scan(root.parent / "again", "x", seed=index)
        assert case.label.sum() == pytest.approx(label.sum() / 8, rel=0.6)
        assert case.image[case.label == 1].mean() > 0.05  # -100 HU outside, 100 inside
        assert case.image.min() == -1  # air, where the patch leaves the scan
    assert len(load(root, most=2)) == 2


def test_orientation_comes_from_the_header(root):
    """A file whose axes are stored the other way round is the same case."""
    label = scan(root, "s0000")
    flipped = np.diag([-1.5, 1.5, 1.5, 1])
    flipped[0, 3] = 1.5 * (label.shape[2] - 1)
    expected = load(root)[0]
    for name in ("ct.nii.gz", "segmentations/aorta.nii.gz"):
        path = root / "s0000" / name
        array = np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
        volume(path, np.ascontiguousarray(array[:, :, ::-1]), flipped)
    found = load(root)[0]
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_array_equal(found.image, expected.image)


def damage(root: Path, kind: str) -> None:
    """Spoil the second case."""
    image, label = root / "s0001" / "ct.nii.gz", root / "s0001" / "segmentations" / "aorta.nii.gz"
    shape = nibabel.load(label).shape[::-1]
    if kind == "missing":
        label.unlink()
    elif kind == "empty":
        volume(label, np.zeros(shape, np.uint8))
    elif kind == "shape":
        volume(label, np.ones((4, 4, 4), np.uint8))
    elif kind == "values":
        volume(label, np.full(shape, 3, np.uint8))
    elif kind == "elsewhere":
        volume(label, np.ones(shape, np.uint8), np.diag([3.0, 3, 3, 1]))
    elif kind == "nan":
        volume(image, np.full(shape, np.nan, np.float32))
    elif kind == "broken":
        image.write_bytes(image.read_bytes()[:100])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"s0001/segmentations: aorta.nii.gz is missing"),
        ("empty", r"s0001: the label is empty"),
        ("shape", r"aorta.nii.gz has shape \(4, 4, 4\), its image \(24, 26, 25\)"),
        ("values", r"aorta.nii.gz must hold 0 and 1, got 3"),
        ("elsewhere", r"aorta.nii.gz lies elsewhere than its image"),
        ("nan", r"ct.nii.gz must be a finite volume, got values that are not finite"),
        ("broken", r"ct.nii.gz is not readable"),
    ],
)
def test_bad_cases_stop_or_are_skipped(root, capsys, kind, message):
    damage(root, kind)
    with pytest.raises(folders.BadCase, match=message):
        load(root)
    capsys.readouterr()
    assert [case.name for case in load(root, skip=True)] == ["s0000", "s0002"]
    skipped = [line for line in capsys.readouterr().err.splitlines() if "skipped: " in line]
    assert len(skipped) == 1
    assert "s0001" in skipped[0]


def test_bad_folders_are_refused(root):
    with pytest.raises(ValueError, match=r"no case has the organ 'aort'; there are 1, as \['aorta"):
        load(root, "aort", skip=True)
    with pytest.raises(FileNotFoundError, match="no folder"):
        load(root / "nowhere")
    (root.parent / "none").mkdir()
    with pytest.raises(ValueError, match="no case has the organ"):
        load(root.parent / "none")
    for name in ("s0000", "s0001", "s0002"):
        (root / name / "ct.nii.gz").unlink()
    with pytest.raises(folders.BadCase, match="no case that can be used, of 3 folders"):
        load(root, skip=True)


def test_patches_are_kept_and_read_anew_when_files_change(root, tmp_path):
    first = load(root, cache=tmp_path / "patches")
    assert len(list((tmp_path / "patches").iterdir())) == 3
    second = load(root, cache=tmp_path / "patches")
    np.testing.assert_array_equal(first[1].image, second[1].image)
    assert second[1].raters is None
    scan(root, "s0001", seed=9)
    third = load(root, cache=tmp_path / "patches")
    assert not np.array_equal(third[1].image, first[1].image)
    np.testing.assert_array_equal(third[2].image, first[2].image)


def test_cases_with_raters(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(1000, 300, (20, 18, 22)).astype(np.float32)
    base = np.zeros(image.shape, np.uint8)
    base[6:14, 5:13, 8:16] = 1
    masks = [base, np.roll(base, 1, 0), np.roll(base, 1, 1)]
    for number, mask in enumerate(masks, 1):
        volume(tmp_path / "p1" / f"rater{number}.nii.gz", mask)
    volume(tmp_path / "p1" / "image.nii.gz", image)
    (case,) = folders.load_folder(tmp_path, folders.read_raters, "", SIZE)
    assert case.raters.shape == (3, *(SIZE,) * 3)
    assert [one.sum() for one in case.raters] == [512] * 3  # at its own resolution
    np.testing.assert_array_equal(case.label, case.raters.sum(0) >= 2)
    assert case.image.mean() == pytest.approx(0, abs=1e-4)
    assert case.image.std() == pytest.approx(0.5, abs=1e-4)
    (tmp_path / "p1" / "rater3.nii.gz").unlink()
    (tmp_path / "p1" / "rater2.nii.gz").unlink()
    with pytest.raises(folders.BadCase, match=r"p1: expected rater1.nii.gz, .* got 1"):
        folders.load_folder(tmp_path, folders.read_raters, "", SIZE)


def test_the_experiment_runs_on_folders(root, tmp_path):
    """Both layouts, from files to results."""
    small = ["--preset", "tiny", "--folds", "3", "--test", "1", "--only-folds", "2"]
    where = ["--data", "totalsegmentator", "--root", str(root), "--organs", "aorta"]
    runs = tmp_path / "runs"
    assert main([str(runs), *small, *where, "--noise", "0.03", "--loss", "ce"]) == 0
    (result,) = runs.glob("aorta_a0.03_ce_noisy_fold2_*/result.json")
    assert len(list((runs / "patches").iterdir())) == 3
    assert json.loads(result.read_text())["cases"][0].startswith("s000")

    for name in ("p1", "p2", "p3"):
        volume(
            tmp_path / "rated" / name / "image.nii.gz",
            np.random.default_rng(0).normal(size=(16, 16, 16)),
        )
        for rater in (1, 2):
            mask = np.zeros((16, 16, 16), np.uint8)
            mask[4:10, 5:10, 3 + rater : 10] = 1
            volume(tmp_path / "rated" / name / f"rater{rater}.nii.gz", mask)
    where = ["--data", "raters", "--root", str(tmp_path / "rated")]
    assert main([str(runs), *small, *where, "--targets", "noisy,one-hot"]) == 0
    assert len(list(runs.glob("raters_a0_*_fold2_*/result.json"))) == 4


def test_folds_share_no_case():
    parts = [folders.folds(401, 5, 80, part, seed=3) for part in range(5)]
    tests = [set(test) for _, test in parts]
    assert len(set.union(*tests)) == 400
    for trained, unseen in parts:
        assert len(trained) == 320
        assert len(unseen) == 80
        assert not set(trained) & set(unseen)
    with pytest.raises(ValueError, match="5 folds of 80 need 400 cases, got 399"):
        folders.folds(399, 5, 80, 0, seed=3)


# Targets and augmentation

SOFT = {"marginal", "ls", "svls", "msvls", "average"}


@pytest.fixture(scope="module")
def case():
    return Phantoms("aorta", 1, 24)[0]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("real", [False, True])
def test_each_target_is_what_its_name_says(case, kind, real):
    if real and kind == "marginal":
        with pytest.raises(ValueError, match="real raters bring their own noise"):
            dataclasses.replace(TINY, data="raters", noise=0.0, targets=kind)
        return
    settings = dataclasses.replace(TINY, targets=kind)
    if real:
        raters = np.stack([np.roll(case.label, shift, 1) for shift in (-1, 0, 1)])
        case = dataclasses.replace(case, raters=raters)
        settings = dataclasses.replace(settings, data="raters", noise=0.0)
    found = targets.target(case, settings, 0, 5)
    assert found.dtype == np.float32
    assert found.shape == case.label.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert bool(((found > 0) & (found < 1)).any()) == (kind in SOFT)
    assert found.sum() == pytest.approx(case.label.sum(), rel=0.6 if kind != "ls" else 5)
    assert np.array_equal(found, targets.target(case, settings, 1, 5))  # once per case
    fresh = dataclasses.replace(settings, fresh=True)
    epochs = [targets.target(case, fresh, epoch, 5) for epoch in range(12)]
    varies = kind == "random" or not (real or kind in {"marginal", "one-hot"})
    assert (len({one.tobytes() for one in epochs}) > 1) == varies


def test_noisy_labels_follow_the_model(case):
    """Their mean over epochs is the marginal."""
    settings = dataclasses.replace(TINY, fresh=True, targets="noisy")
    mean = np.mean([targets.target(case, settings, epoch, 0) for epoch in range(300)], 0)
    expected = targets.marginal(case, settings)
    assert np.abs(mean - expected).max() < 5 * np.sqrt(0.25 / 300)
    assert np.abs(mean - expected).mean() < 0.01


def test_more_raters_change_none(case):
    settings = dataclasses.replace(TINY, targets="average", raters=2)
    more = dataclasses.replace(settings, raters=5)
    few, many = (targets.noisy_labels(case, one, 7, 0, 3) for one in (settings, more))
    np.testing.assert_array_equal(few, many[:2])
    assert not np.array_equal(few[0], few[1])


def test_augmentation_moves_image_and_target_together():
    z, y, x = np.mgrid[:24, :24, :24] - 11.5
    label = ((z / 7) ** 2 + (y / 4) ** 2 + ((x - 2) / 5) ** 2 < 1).astype(np.float32)
    image, moved = samples.augmented(label, label, np.random.default_rng(1))
    assert set(np.unique(moved)) == {0, 1}
    assert not np.array_equal(moved, label)
    middles = [[np.average(axis, weights=one) for axis in (z, y, x)] for one in (image, moved)]
    np.testing.assert_allclose(*middles, atol=0.1)
    assert np.abs(np.array(middles[1]) - (0, 0, 2)).max() > 0.5
    assert moved.sum() == pytest.approx(label.sum(), rel=0.05)
    soft = samples.augmented(label, label / 2 + 0.2, np.random.default_rng(1))[1]
    assert ((soft > 0.21) & (soft < 0.69)).any()  # interpolated


def test_the_grid_turns_about_the_middle():
    still = samples.moved_grid((4, 5, 6), np.zeros(3), np.zeros(3))
    np.testing.assert_array_equal(still, np.indices((4, 5, 6)))
    turned = samples.moved_grid((5, 5, 5), np.array([np.pi / 2, 0, 0]), np.zeros(3))
    np.testing.assert_allclose(turned[0], np.indices((5, 5, 5))[0], atol=1e-6)
    np.testing.assert_allclose(turned[1], 4 - np.indices((5, 5, 5))[2], atol=1e-6)
    shifted = samples.moved_grid((16, 16, 16), np.zeros(3), np.array([1, 0, -0.5]))
    np.testing.assert_allclose(shifted[:, 0, 0, 0], (1, 0, -0.5), atol=1e-6)


def test_samples_follow_from_epoch_and_index():
    settings = dataclasses.replace(TINY, augment=1.0)
    data, other = (samples.Samples(Phantoms("aorta", 2, 16), settings) for _ in range(2))
    assert all((a == b).all() for a, b in zip(data[1], other[1], strict=True))
    other.epoch = 1
    assert not (data[1][0] == other[1][0]).all()


# Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "loss must be one of ce, soft-dice, adaptive-wing, got 'mse'"),
        ({"targets": "soft"}, "targets must be one of noisy, marginal, .* got 'soft'"),
        ({"epochs": 0}, "epochs must be 1 at least, got 0"),
        ({"noise": float("nan")}, "noise must be finite and not negative, got nan"),
        ({"augment": 2.0}, r"augment must be in \[0, 1\], got 2.0"),
        ({"fold": 5}, r"fold must be in \[0, 4\], got 5"),
        ({"data": "raters", "noise": 0.1}, "real raters bring their own noise"),
        ({"seed": -1}, "base must be"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)


def test_settings_have_a_name_and_a_json():
    settings = Settings(noise=0.03, channels=(4, 8))
    assert settings.name.startswith("esophagus_a0.03_ce_noisy_fold0_")
    assert Settings.from_json(settings.to_json()) == settings
    assert dataclasses.replace(settings, rate=1e-3).name != settings.name
    losses = [dataclasses.replace(settings, loss=loss) for loss in ("ce", "soft-dice")]
    assert losses[0].stream("training labels") == losses[1].stream("training labels")
