"""The nnU-Net adapter: the transform alone, and in the pipeline and the trainer of nnU-Net."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("batchgeneratorsv2")

import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform

from gfnoise import GaussianField
from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform, insert_noise

SHAPE = (24, 22, 12)
IGNORE = 3
REGIONS = [(1, 2), (2,)]


def make(channels: int = 1, shape: tuple[int, ...] = SHAPE) -> Any:
    """Organ 1 with a lesion 2, and a part to be ignored."""
    made = torch.zeros(channels, *shape, dtype=torch.int16)
    made[(slice(None), *(slice(n // 4, 3 * n // 4) for n in shape))] = 1
    made[(slice(None), *(slice(n // 3, n // 2) for n in shape))] = 2
    made[:, :3] = IGNORE
    return made


def seeded(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net draws from it


def noise(**options: Any) -> Any:
    return GaussianFieldNoiseTransform((1, 3), 6, **{"ignore_label": IGNORE, **options})


# --- the transform ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[:2]])
@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.int64])
def test_only_channel_0_changes(shape: tuple[int, ...], dtype: Any) -> None:
    segmentation = make(2, shape).to(dtype)
    image = torch.rand(1, *shape)
    clean, before = segmentation.clone(), image.clone()
    seeded(0)
    found = noise()(image=image, segmentation=segmentation)
    noisy = found["segmentation"]
    assert noisy.dtype == dtype
    assert torch.equal(noisy[1], clean[1])
    assert torch.equal(noisy[0] == IGNORE, clean[0] == IGNORE)
    assert set(noisy[0].unique().tolist()) == set(clean.unique().tolist())
    assert not torch.equal(noisy[0], clean[0])
    assert found["image"] is image
    assert torch.equal(image, before)
    assert torch.equal(segmentation, clean)


def test_it_is_the_core_and_its_parameters_are_replayed() -> None:
    transform = noise(spacing=(0.8, 0.9, 2.5), mode="constant")
    parameters = json.loads(json.dumps(transform.get_parameters(segmentation=make())))
    (drawn,) = parameters["noise"]
    noisy = transform.apply({"segmentation": make()}, **parameters)["segmentation"]
    field = GaussianField(
        drawn["amplitude"], drawn["length_scale"], spacing=(0.8, 0.9, 2.5), ndim=3
    )
    expected = field.sample_labels(make().numpy(), seed=[drawn["seed"]], ignore_index=IGNORE)
    np.testing.assert_array_equal(noisy.numpy(), expected)


def test_workers_that_share_one_seed_differ_by_the_other() -> None:
    """Of torch and of NumPy: workers that share one of them differ by the other."""

    def draw(torchs: int, numpys: int) -> Any:
        torch.manual_seed(torchs)
        np.random.seed(numpys)  # noqa: NPY002 - nnU-Net draws from it
        return noise()(segmentation=make())["segmentation"]

    first = draw(1, 2)
    assert torch.equal(first, draw(1, 2))
    assert not torch.equal(first, draw(1, 3))
    assert not torch.equal(first, draw(2, 2))


def test_without_a_segmentation() -> None:
    image = torch.rand(1, *SHAPE)
    assert noise()(image=image) == {"image": image}


def test_probability_pickle_and_bad_input() -> None:
    transform = pickle.loads(pickle.dumps(noise(p=0)))
    assert torch.equal(transform(segmentation=make())["segmentation"], make())
    with pytest.raises(TypeError, match="labels must be of bool or an integer dtype"):
        noise()(segmentation=make().float())
    with pytest.raises(ValueError, match="p must be a number in"):
        noise(p=2)
    with pytest.raises(ValueError, match="RemoveLabelTransform of label -1, got none"):
        insert_noise(ComposeTransforms([]), noise())


def test_regions_and_deep_supervision_follow() -> None:
    steps = [
        RemoveLabelTransform(-1, 0),
        ConvertSegmentationToRegionsTransform(regions=[*REGIONS, IGNORE]),
        DownsampleSegForDSTransform([(1, 1, 1), (0.5, 0.5, 0.5)]),
    ]
    pipeline = insert_noise(ComposeTransforms(steps), noise())
    names = [type(one).__name__ for one in pipeline.transforms]
    assert names[:2] == ["RemoveLabelTransform", "GaussianFieldNoiseTransform"]
    seeded(0)
    full, half = pipeline(segmentation=make())["segmentation"]
    seeded(0)
    labels = noise()(segmentation=make())["segmentation"][0]
    assert full.dtype == torch.bool
    for found, region in zip(full, [*REGIONS, (IGNORE,)], strict=True):
        assert torch.equal(found, torch.isin(labels, torch.tensor(region)))
    assert half.shape == (3, 12, 11, 6)


# --- in nnU-Net ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nnunet() -> Any:
    """The module of nnU-Net's trainer, which warns of the paths that are not set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", exc_type=ImportError
        )


@pytest.fixture(scope="module")
def trainers(nnunet: Any) -> Any:
    from gfnoise.integrations import nnunet_trainer

    return nnunet_trainer


PIPELINES = {
    "labels": {},
    "ignore": {"ignore_label": IGNORE},
    "regions": {"regions": REGIONS, "ignore_label": IGNORE},
    "cascade": {"is_cascaded": True, "foreground_labels": (1, 2)},
    "dummy 2d": {"do_dummy_2d_data_aug": True},
}


@pytest.mark.filterwarnings("ignore")  # of the host
@pytest.mark.parametrize("name", PIPELINES)
def test_in_the_training_transforms(name: str, nnunet: Any) -> None:
    """The pipeline that nnU-Net builds: all but the segmentation, bit for bit the same."""
    options = {"do_dummy_2d_data_aug": False, "use_mask_for_norm": [True], **PIPELINES[name]}

    def build() -> Any:
        return nnunet.nnUNetTrainer.get_training_transforms(
            np.array((16, 16, 8)), (-0.5, 0.5), [(1, 1, 1), (0.5, 0.5, 0.5)], (0, 1, 2), **options
        )

    def run(pipeline: Any, seed: int) -> Any:
        segmentation = make(1 + (name == "cascade"))
        if "ignore_label" not in options:
            segmentation[segmentation == IGNORE] = -1
        seeded(seed)
        return pipeline(image=torch.ones(1, *SHAPE), segmentation=segmentation)

    ignored = options.get("ignore_label")
    noisy, clean = (
        insert_noise(build(), GaussianFieldNoiseTransform(2, 6, ignore_label=ignored)),
        build(),
    )
    changed = 0
    for seed in range(4):
        found, again = run(noisy, seed), run(noisy, seed)
        expected = run(clean, seed)
        for a, b in zip(found["segmentation"], again["segmentation"], strict=True):
            assert torch.equal(a, b)
        for a, b in zip(found["segmentation"], expected["segmentation"], strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert set(a.unique().tolist()) <= {0, 1, 2, IGNORE}
        full, before = found["segmentation"][0], expected["segmentation"][0]
        changed += not torch.equal(full, before)
        if name == "ignore":
            assert torch.equal(full == IGNORE, before == IGNORE)
        if name == "regions":
            assert torch.equal(full[2], before[2])
            assert not (full[1] & ~full[0]).any()
        if name != "cascade":  # whose random changes of the input come later
            assert torch.equal(found["image"], expected["image"])
    assert changed == 4


def plans(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plans of a small network, and dataset.json."""
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [2, 4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 3,
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 1]],
            "n_conv_per_stage": [1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "small",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 8],
        "spacing": [0.8, 0.9, 2.5],
        "use_mask_for_norm": [False],
        "normalization_schemes": ["ZScoreNormalization"],
        "batch_dice": False,
        "architecture": architecture,
    }
    labels: dict[str, Any] = {"background": 0, "organ": 1, "lesion": 2}
    if kind == "regions":
        labels = {"background": 0, "organ": [1, 2], "lesion": 2}
    if kind != "labels":
        labels["ignore"] = IGNORE
    dataset = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    if kind == "regions":
        dataset["regions_class_order"] = [1, 2]
    return {
        "dataset_name": "Dataset001_Small",
        "plans_name": "nnUNetPlans",
        "continue_training": False,
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "configurations": {"3d": configuration},
    }, dataset


@pytest.fixture
def preprocessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preprocessed data set of six cases; nnU-Net's paths lead to it."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_compile", "f")
    folder = tmp_path / "preprocessed" / "Dataset001_Small" / "small"
    folder.mkdir(parents=True)
    for i in range(6):
        random = np.random.default_rng(i)
        seg = make().numpy()
        seg[:, :, :, -1] = -1
        places = {k: np.argwhere(seg == k) for k in (1, 2)}
        places |= {(1, 2): np.argwhere((seg == 1) | (seg == 2))}
        annotated = np.argwhere((seg >= -1) & (seg < IGNORE))
        places |= {(-1, 0, 1, 2): annotated}
        data = random.normal(size=(1, *SHAPE)).astype(np.float32)
        np.savez_compressed(folder / f"case_{i}.npz", data=data, seg=seg)
        with (folder / f"case_{i}.pkl").open("wb") as stream:
            pickle.dump({"class_locations": places}, stream)
    return folder


def build(trainer: Any, kind: str) -> Any:
    made_plans, dataset = plans(kind)
    return trainer(made_plans, "3d", 0, dataset, torch.device("cpu"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ignore", "regions"])
def test_the_trainer_of_the_workers(
    kind: str, trainers: Any, nnunet: Any, preprocessed: Path
) -> None:
    """Its own loaders, its own network: a step, on noisy labels."""
    trainer = build(trainers.nnUNetTrainerGaussianFieldNoise, kind)
    trainer.initialize()
    clean = build(nnunet.nnUNetTrainer, kind)
    clean.initialize()
    batches = []
    for one in (trainer, trainer, clean):
        seeded(0)
        training, validation = one.get_dataloaders()
        seeded(1)
        batches.append((next(training), next(validation)))
    (noisy, val), (again, _), (before, val_before) = batches
    for a, b, c in zip(noisy["target"], again["target"], before["target"], strict=True):
        assert torch.equal(a, b)
        assert (a.shape, a.dtype) == (c.shape, c.dtype)
    assert not torch.equal(noisy["target"][0], before["target"][0])
    names = [type(one).__name__ for one in training.data_loader.transforms.transforms]
    assert "GaussianFieldNoiseTransform" not in names  # of the last one, without noise
    loss = trainer.train_step(noisy)["loss"]
    assert np.isfinite(loss)
    assert val["target"][0].dtype == val_before["target"][0].dtype
    transforms = trainer.get_training_transforms(
        np.array((16, 16, 8)), (-0.5, 0.5), None, (0,), False
    ).transforms
    (ours,) = (one for one in transforms if isinstance(one, GaussianFieldNoiseTransform))
    assert ours.spacing == [0.8, 0.9, 2.5]
    assert ours.noises.settings["ignore_index"] == IGNORE


@pytest.mark.filterwarnings("ignore")
def test_workers_draw_different_noise(
    trainers: Any, preprocessed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net seeds NumPy in each worker, and torch in none."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")

    class Fixed(trainers.nnUNetTrainerGaussianFieldNoise):  # type: ignore[misc, name-defined]
        amplitude = 3.0

        def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
            made = super().get_training_transforms(*args, **kwargs)
            kept = (GaussianFieldNoiseTransform, RemoveLabelTransform, _Same)
            made.transforms.insert(0, _Same())
            made.transforms = [one for one in made.transforms if isinstance(one, kept)]
            return made

    trainer = build(Fixed, "labels")
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    try:
        drawn = [next(training)["target"] for _ in range(6)]
    finally:
        training._finish()
        validation._finish()
    seen = {label.numpy().tobytes() for batch in drawn for label in batch}
    assert len(seen) == 12


class _Same(RemoveLabelTransform):
    """Make all patches the same, so that only their noise may differ."""

    def __init__(self) -> None:
        super().__init__(-1, 0)

    def apply(self, data_dict: Any, **params: Any) -> Any:
        return {
            "image": torch.ones(1, 16, 16, 8),
            "segmentation": make(shape=(16, 16, 8)),
        }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ignore", "regions"])
def test_the_trainer_of_the_device(kind: str, trainers: Any, preprocessed: Path) -> None:
    """The batch's targets get noise where the network is, at all scales, and no input changes."""
    trainer = build(trainers.nnUNetTrainerGaussianFieldNoiseGPU, kind)
    trainer.initialize()
    seeded(2)
    training, _ = trainer.get_dataloaders()
    batch = next(training)
    kept = [one.clone() for one in batch["target"]]
    seen = []
    loss = trainer.loss

    def watch(output: Any, target: Any) -> Any:
        seen.append(target)
        return loss(output, target)

    trainer.loss = watch
    torch.manual_seed(0)
    assert np.isfinite(trainer.train_step(batch)["loss"])
    torch.manual_seed(0)
    trainer.train_step(batch)
    first, second = seen
    assert all(torch.equal(a, b) for a, b in zip(batch["target"], kept, strict=True))
    for a, b, c in zip(first, second, kept, strict=True):
        assert torch.equal(a, b)
        assert (a.shape, a.dtype) == (c.shape, c.dtype)
    full, before = first[0], kept[0]
    assert not torch.equal(full, before)
    scales = trainer._get_deep_supervision_scales()
    for i in range(len(full)):
        made = DownsampleSegForDSTransform(scales)(segmentation=full[i])["segmentation"]
        assert all(torch.equal(a, b[i]) for a, b in zip(made, first, strict=True))
    if kind == "ignore":
        assert torch.equal(full == IGNORE, before == IGNORE)
    if kind == "regions":
        assert torch.equal(full[:, 2], before[:, 2])
        assert torch.equal(
            full[:, :2][before[:, 2:].expand_as(full[:, :2])],
            before[:, :2][before[:, 2:].expand_as(full[:, :2])],
        )
        assert not (full[:, 1] & ~full[:, 0]).any()


def test_regions_move_as_their_labels(trainers: Any) -> None:
    """The noise of regions is that of the labels they are made of."""
    from gfnoise.torch import LabelNoise

    labels = make()[None]
    convert = ConvertSegmentationToRegionsTransform(regions=[*REGIONS, IGNORE])
    target = torch.stack([convert(segmentation=one)["segmentation"] for one in labels])
    codes = trainers._as_codes(target, True)
    assert torch.equal(codes == -1, labels == IGNORE)
    assert torch.equal(trainers._as_regions(codes, target, True), target)
    params = LabelNoise(2, 6, ndim=3).sample_params(1, seed=[7])
    moved = LabelNoise(2, 6, ndim=3, ignore_index=-1).apply(codes, params)
    expected = LabelNoise(2, 6, ndim=3, ignore_index=IGNORE).apply(labels, params)
    expected = torch.stack([convert(segmentation=one)["segmentation"] for one in expected])
    assert torch.equal(trainers._as_regions(moved, target, True), expected)
    with pytest.raises(ValueError, match="regions must be at most 31, got 32"):
        trainers._as_codes(torch.zeros(1, 32, 2, 2, dtype=torch.bool), False)


@pytest.mark.filterwarnings("ignore")
def test_nnunet_finds_a_trainer_of_the_user(trainers: Any, tmp_path: Path) -> None:
    """As `-tr MyTrainer` looks for it in the folders of nnUNet_extTrainer."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    text = trainers.nnUNetTrainerGaussianFieldNoise.__doc__.partition("::")[2]
    code = "\n".join(line[8:] for line in text.split("Validation")[0].splitlines())
    (tmp_path / "my_trainer.py").write_text(code)
    folder = str(tmp_path)
    found = recursive_find_python_class(
        folder, "MyTrainer", None, base_folder=folder, cleanup_imports_from_base_folder=True
    )
    assert issubclass(found, trainers.nnUNetTrainerGaussianFieldNoise)
    assert found.length_scale == 8.0
