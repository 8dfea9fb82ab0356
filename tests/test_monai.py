"""The MONAI adapter, in MONAI's own pipelines."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("monai")

import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, ThreadDataLoader
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    RandFlipd,
    RandSpatialCropd,
    Spacingd,
)
from monai.utils import set_determinism

import gfnoise
from gfnoise import GaussianField
from gfnoise.integrations import monai as adapter

SIZES = (0.8, 0.9, 2.5)


def make(shape: tuple[int, ...] = (24, 22, 12), dtype: Any = torch.uint8) -> Any:
    """Two classes, with an affine."""
    label = torch.zeros(1, *shape, dtype=dtype)
    label[(0, *(slice(n // 4, 3 * n // 4) for n in shape))] = 2
    label[(0, *(slice(n // 3, n // 2) for n in shape))] = 5
    affine = torch.diag(torch.tensor([*SIZES, 1.0], dtype=torch.float64))
    return MetaTensor(label, affine=affine, meta={"patient": "A"})


def noise(**options: Any) -> Any:
    return adapter.RandGaussianFieldNoised("label", (1, 3), 6, **{"prob": 1, **options})


def draw(transform: Any, seed: int, label: Any) -> Any:
    return transform.set_random_state(seed)({"label": label})["label"]


# --- the transforms -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_dtype_metadata_and_input_are_kept(dtype: Any) -> None:
    label = make(dtype=dtype)
    clean = label.clone()
    noisy = draw(noise(), 0, label)
    assert isinstance(noisy, MetaTensor)
    assert noisy.dtype == dtype
    assert noisy.meta["patient"] == "A"
    torch.testing.assert_close(noisy.affine, label.affine, rtol=0, atol=0)
    assert torch.equal(label.as_tensor(), clean.as_tensor())
    assert set(noisy.unique().tolist()) == {0, 2, 5}
    noisy.meta["patient"] = "B"
    assert label.meta["patient"] == "A"
    other = draw(noise(), 0, make(dtype=torch.uint8)).as_tensor()
    assert torch.equal(noisy.as_tensor().to(torch.uint8), other)


def test_it_is_the_core_in_mm() -> None:
    label = make()
    one = adapter.RandGaussianFieldNoise(2, 6, prob=1, mode="constant").set_random_state(3)
    noisy = one(label)
    random = np.random.RandomState(3)
    random.rand()
    high, low = (int(random.randint(2**32, dtype="uint32")) for _ in range(2))
    field = GaussianField(2.0, 6.0, spacing=SIZES, ndim=3)
    expected = field.sample_labels(label.numpy(), seed=[(high << 32 | low) & (2**63 - 1)])
    np.testing.assert_array_equal(noisy.numpy(), expected)


def test_as_many_draws_with_noise_as_without() -> None:
    """What follows in a pipeline does not change with `prob`."""
    states = []
    for prob in (0, 0.5, 1):
        one = adapter.RandGaussianFieldNoise(2, 6, prob=prob).set_random_state(5)
        one(make())
        several = noise(prob=prob).set_random_state(5)
        several({"label": make()})
        states.append([each.R.rand() for each in (one, several, several._one)])
    assert states[0] == states[1] == states[2]


def test_prob_is_how_often_noise_is_made() -> None:
    label = make((8, 8, 8))
    transform = noise(prob=0.3).set_random_state(1)
    changed = sum(
        not torch.equal(transform({"label": label})["label"].as_tensor(), label.as_tensor())
        for _ in range(400)
    )
    assert 80 < changed < 165  # 120 expected, +-4.3 sigma
    assert torch.equal(draw(noise(prob=0), 0, label).as_tensor(), label.as_tensor())


def test_output_keys_get_the_noisy_label() -> None:
    label = make()
    transform = noise(output_keys="noisy")
    data = {"label": label, "image": torch.rand(1, 24, 22, 12), "name": "x"}
    image = data["image"].clone()
    found = transform.set_random_state(0)(data)
    assert sorted(found) == ["image", "label", "name", "noisy"]
    assert found["label"] is label
    assert found["image"] is data["image"]
    assert torch.equal(found["image"], image)
    assert not torch.equal(found["noisy"].as_tensor(), label.as_tensor())

    both = adapter.RandGaussianFieldNoised(["label", "other"], 2, 6, prob=1)
    found = both.set_random_state(0)({"label": label, "other": make(dtype=torch.int32)})
    assert torch.equal(found["label"].as_tensor().int(), found["other"].as_tensor())
    with pytest.raises(KeyError, match="other"):
        both({"label": label})
    lenient = adapter.RandGaussianFieldNoised(
        ["label", "other"], 2, 6, prob=1, allow_missing_keys=True
    )
    assert sorted(lenient({"label": label})) == ["label"]
    with pytest.raises(ValueError, match="output_keys must be one for each of keys"):
        adapter.RandGaussianFieldNoised(["a", "b"], 2, 6, output_keys="c")


def test_flat_labels_channels_and_ignored_ones() -> None:
    flat = MetaTensor(make().as_tensor()[..., 6], affine=torch.eye(4))
    noisy = draw(noise(ignore_index=5), 0, flat)
    assert noisy.shape == flat.shape
    assert torch.equal(noisy.as_tensor() == 5, flat.as_tensor() == 5)
    regions = torch.cat([make().as_tensor() > 0, make().as_tensor() == 5])
    moved = draw(noise(), 0, MetaTensor(regions))
    assert moved.dtype == torch.bool
    assert not (moved[1] & ~moved[0]).any()  # by one field: what lies within stays within


def test_spacing_is_that_of_the_image() -> None:
    plain = make().as_tensor()
    assert torch.equal(
        draw(noise(spacing=SIZES), 0, plain).as_tensor(), draw(noise(), 0, make()).as_tensor()
    )
    with pytest.raises(ValueError, match=r"MetaTensor, which has a pixdim, got Tensor: give spac"):
        draw(noise(), 0, plain)
    with pytest.raises(ValueError, match=r"MetaTensor, which has a pixdim, got ndarray"):
        adapter.GaussianFieldMarginals(1.0)(plain.numpy())


TURNED = [[0.6, 0.0, -2.0, 5.0], [0.0, 2.0, 0.0, 6.0], [0.8, 0.0, 1.5, 7.0], [0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("shape", [(24, 22, 12), (24, 22)])
@pytest.mark.parametrize("affine", [TURNED, np.diag([0.8, 0.0, 2.5, 1.0]), None])
def test_the_voxel_size_is_pixdim(shape: tuple[int, ...], affine: Any) -> None:
    label = MetaTensor(torch.zeros(1, *shape), affine=None if affine is None else np.array(affine))
    found = adapter._spacing(label, "pixdim", len(shape))
    assert found == pytest.approx(label.pixdim[: len(shape)].tolist())
    del label.meta["affine"]
    assert adapter._spacing(label, "pixdim", len(shape)) == (1.0,) * len(shape)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="img must hold labels, which are whole numbers"):
        draw(noise(spacing=1.0), 0, torch.rand(1, 8, 8, 8))
    with pytest.raises(ValueError, match=r"img must be of shape \(C, \*space\), 2D or 3D"):
        draw(noise(), 0, torch.zeros(2, 1, 8, 8, 8, dtype=torch.uint8))
    for options, message in (
        ({"prob": 2}, "prob must be a number in"),
        ({"mode": "mirror"}, "mode must be one of"),
        ({"amplitude": -1}, "amplitude must be"),
    ):
        with pytest.raises(ValueError, match=message):
            adapter.RandGaussianFieldNoise(**{"amplitude": 1, "length_scale": 5, **options})


def refused(img: Any) -> None:
    """All three transforms refuse it, and name what is missing."""
    every = (
        adapter.RandGaussianFieldNoise(2, 6, prob=1, spacing=1.0),
        adapter.GaussianFieldMarginals(2.0, spacing=1.0),
        adapter.OptimalSegmentation(),
    )
    for one in every:
        with pytest.raises(
            ValueError, match=r"^img must be of shape \(C, \*space\).*EnsureChannelFirst"
        ):
            one(img)


READ = {"a.nii.gz": "nibabel", "a.nrrd": "nrrd", "a.npy": "numpy"}


@pytest.mark.parametrize("name", READ)
@pytest.mark.filterwarnings("ignore")  # of readers that are not asked for
def test_a_volume_without_channels_is_not_slices(name: str, tmp_path: Any) -> None:
    """Whatever reads it, and however it is cropped after channels were put first."""
    library = pytest.importorskip(READ[name])
    data, path = make().numpy()[0], tmp_path / name
    if name == "a.npy":
        np.save(path, data)
    elif name == "a.nrrd":
        library.write(str(path), data, {"space directions": np.eye(3), "space origin": np.zeros(3)})
    else:
        library.save(library.Nifti1Image(data, np.eye(4)), path)
    loaded = LoadImage()(path)
    assert loaded.shape == data.shape
    refused(loaded)
    first = EnsureChannelFirst()(loaded)
    noise = adapter.RandGaussianFieldNoise(2, 6, prob=1)
    assert noise(first).shape == (1, *data.shape)
    assert noise(first[:, :16]).shape == (1, 16, *data.shape[1:])
    assert noise(first[..., 5]).shape == (1, *data.shape[:2])
    assert noise(EnsureChannelFirst(channel_dim=0)(LoadImage()(path))).shape == data.shape


@pytest.mark.filterwarnings("ignore")  # a reader's that is not asked for
def test_files_that_have_channels(tmp_path: Any) -> None:
    nibabel = pytest.importorskip("nibabel")
    both = np.stack([make().numpy()[0]] * 2, -1)
    nibabel.save(nibabel.Nifti1Image(both, np.eye(4)), tmp_path / "last.nii")
    loaded = LoadImage()(tmp_path / "last.nii")
    assert loaded.shape == both.shape
    refused(loaded)
    noise = adapter.RandGaussianFieldNoise(2, 6, prob=1)
    assert noise(EnsureChannelFirst()(loaded)).shape == (2, 24, 22, 12)
    for shape in ((2, 24, 22, 12), (1, 24, 22)):  # which NumpyReader takes for space
        np.save(tmp_path / "first.npy", np.zeros(shape, np.uint8))
        assert noise(LoadImage()(tmp_path / "first.npy")).shape == shape
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((24, 22), np.uint8)).save(tmp_path / "a.png")
    loaded = LoadImage()(tmp_path / "a.png")
    refused(loaded)
    assert noise(EnsureChannelFirst()(loaded)).shape == (1, 22, 24)
    cube = EnsureChannelFirst()(MetaTensor(torch.zeros(8, 8, 8, 8), meta=CUBE))
    assert noise(cube).shape == (8, 8, 8, 8)


CUBE = {"spatial_shape": np.array([8, 8, 8]), "original_channel_dim": -1}


@pytest.mark.parametrize(
    "meta",
    [{}, {"spatial_shape": [24, 22, 12]}, {"original_channel_dim": float("nan")}]
    + [
        {"spatial_shape": shape, "original_channel_dim": torch.tensor([float("nan")] * 2)}
        for shape in (None, "x", 3, torch.tensor([[24, 22, 12]] * 2))
    ],
)
def test_metadata_that_do_not_tell(meta: dict[str, Any]) -> None:
    noise = adapter.RandGaussianFieldNoise(2, 6, prob=1, spacing=1.0)
    slices = MetaTensor(make().as_tensor()[0])
    slices.meta.update(meta)
    assert noise(slices).shape == (24, 22, 12)
    assert noise(make().as_tensor()[0]).shape == (24, 22, 12)


def test_one_hot_labels() -> None:
    hot = torch.nn.functional.one_hot(make().as_tensor()[0].long(), 6).movedim(-1, 0)
    text = r"^img must be integer-coded, got one-hot ones of shape \(6, 24, 22, 12\): use argmax\(0"
    for labels in (hot, hot.float()):
        with pytest.raises(ValueError, match=text):
            draw(noise(spacing=1.0), 0, labels)


def test_marginals_are_those_of_the_field() -> None:
    label = make()
    binary = MetaTensor((label.as_tensor() > 0).to(torch.uint8), affine=label.affine)
    soft = adapter.GaussianFieldMarginalsd("label", 2.0, output_keys="soft")({"label": binary})
    field = GaussianField(2.0, 1.0, spacing=SIZES, ndim=3)
    expected = field.marginals(binary.numpy(), mode="nearest")
    np.testing.assert_array_equal(soft["soft"].numpy(), expected)
    assert isinstance(soft["soft"], MetaTensor)
    torch.testing.assert_close(soft["soft"].affine, label.affine)

    classes = adapter.GaussianFieldMarginals(2.0, num_classes=6)(label.to(torch.float32))
    assert classes.shape == (6, 24, 22, 12)
    torch.testing.assert_close(classes.as_tensor().sum(0), torch.ones(24, 22, 12))
    with pytest.raises(ValueError, match="one channel of classes"):
        adapter.GaussianFieldMarginals(2.0, num_classes=6)(torch.cat([label, label]))


def test_optimal_segmentation_after_a_network() -> None:
    maps = torch.rand(3, 8, 9, 10, generator=torch.Generator().manual_seed(0)) ** 3
    post = Compose([adapter.OptimalSegmentationd("pred", output_keys="mask")])
    found = post({"pred": maps})
    expected = gfnoise.optimal_segmentation(maps, ndim=3)
    assert found["mask"].dtype == torch.float32
    assert torch.equal(found["mask"].as_tensor().bool(), expected)
    half = Compose([adapter.OptimalSegmentationd("pred", "accuracy")])({"pred": maps})
    theirs = AsDiscreted("pred", threshold=0.5)({"pred": maps})
    assert torch.equal(half["pred"].as_tensor(), theirs["pred"].as_tensor())


def test_names_have_monais_aliases() -> None:
    for name in ("RandGaussianFieldNoise", "GaussianFieldMarginals", "OptimalSegmentation"):
        variants = [getattr(adapter, name + suffix) for suffix in ("d", "D", "Dict")]
        assert len(set(variants)) == 1
    assert all(hasattr(adapter, name) for name in adapter.__all__)


# --- pipelines ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    nibabel = pytest.importorskip("nibabel")
    folder = tmp_path_factory.mktemp("cases")
    made = []
    for i in range(4):
        case = {}
        random = np.random.default_rng(i).normal(size=(24, 22, 12)).astype(np.float32)
        for key, data in (("image", random), ("label", make().numpy()[0])):
            path = folder / f"{key}{i}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(data, np.diag([*SIZES, 1])), path)
            case[key] = str(path)
        made.append(case)
    return made


def pipeline(*extra: Any) -> Any:
    both = ["image", "label"]
    return Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            Spacingd(both, pixdim=(1.0, 1.0, 2.0), mode=("bilinear", "nearest")),
            RandFlipd(both, prob=0.5),
            RandSpatialCropd(both, (16, 16, 10), random_size=False),
            *extra,
        ]
    )


def batches(data: Any, kind: Any = ThreadDataLoader, **options: Any) -> list[dict[str, Any]]:
    return list(kind(data, batch_size=2, **options))


@pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own
def test_cached_data_and_threads(cases: list[dict[str, str]]) -> None:
    """`set_determinism` reproduces; images are those of the pipeline without noise."""
    runs = []
    try:
        for steps in ([noise()], [noise()], []):
            set_determinism(7)
            data = CacheDataset(cases, pipeline(*steps), num_workers=1, progress=False)
            runs.append([batches(data, num_workers=0) for _ in range(2)])
    finally:
        set_determinism(None)
    first, second, clean = runs
    for epoch, (noisy, again, without) in enumerate(zip(first, second, clean, strict=True)):
        for a, b, c in zip(noisy, again, without, strict=True):
            assert torch.equal(a["label"].as_tensor(), b["label"].as_tensor()), epoch
            assert torch.equal(a["image"].as_tensor(), c["image"].as_tensor())
            assert a["label"].dtype == c["label"].dtype
            assert set(a["label"].unique().tolist()) <= set(c["label"].unique().tolist())
            assert not torch.equal(a["label"].as_tensor(), c["label"].as_tensor())
            torch.testing.assert_close(a["label"].affine, c["label"].affine)
    labels = [one["label"].as_tensor() for one in (*first[0], *first[1])]
    assert not torch.equal(labels[0], labels[2])  # fresh in each epoch


@pytest.mark.filterwarnings("ignore")
def test_workers_draw_as_one_process(cases: list[dict[str, str]]) -> None:
    """Processes: reproducible under a seed, and different in each worker."""
    loaded = Compose([LoadImaged("label"), EnsureChannelFirstd("label")])
    same = loaded({"label": cases[0]["label"]})

    def run() -> list[Any]:
        set_determinism(3)
        steps = Compose([noise()])
        found = batches(Dataset([same] * 4, steps), DataLoader, num_workers=2)
        return [label for one in found for label in one["label"].as_tensor()]

    try:
        first, second = run(), run()
    finally:
        set_determinism(None)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert len({label.numpy().tobytes() for label in first}) == 4


def test_compose_seeds_it_and_it_is_pickled() -> None:
    label = make()
    composed = Compose([noise()])
    first = composed.set_random_state(11)({"label": label})["label"].as_tensor()
    again = pickle.loads(pickle.dumps(composed)).set_random_state(11)({"label": label})["label"]
    assert torch.equal(first, again.as_tensor())
    after = composed({"label": label})["label"].as_tensor()
    assert not torch.equal(first, after)
