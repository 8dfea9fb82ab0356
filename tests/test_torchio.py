"""The TorchIO 1 adapter, in TorchIO's own pipelines."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torchio", exc_type=ImportError)

import torch
import torchio

if torchio.__version__.partition(".")[0] != "1":
    pytest.skip("this is TorchIO 2", allow_module_level=True)

from gfnoise import GaussianField
from gfnoise.integrations.torchio import GaussianFieldNoise, RandomGaussianFieldNoise

SIZES = (0.8, 0.9, 2.5)
SHAPE = (24, 22, 12)


def make(dtype: Any = torch.uint8, shape: tuple[int, ...] = SHAPE) -> Any:
    label = torch.zeros(1, *shape, dtype=dtype)
    label[(0, *(slice(n // 4, -(-3 * n // 4)) for n in shape))] = 2
    label[(0, *(slice(n // 3, -(-n // 2)) for n in shape))] = 5
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    affine = np.diag([*SIZES, 1])
    return torchio.Subject(
        image=torchio.ScalarImage(tensor=image, affine=affine),
        label=torchio.LabelMap(tensor=label, affine=affine),
        name="A",
    )


def draw(transform: Any, seed: int, subject: Any) -> Any:
    torch.manual_seed(seed)
    return transform(subject)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_labels_alone_change(dtype: Any) -> None:
    subject = make(dtype)
    noisy = draw(RandomGaussianFieldNoise((1, 3), 6), 0, subject)
    assert noisy.label.data.dtype == dtype
    np.testing.assert_array_equal(noisy.label.affine, subject.label.affine)
    assert torch.equal(noisy.image.data, subject.image.data)
    assert noisy["name"] == "A"
    assert torch.equal(subject.label.data, make(dtype).label.data)
    assert not torch.equal(noisy.label.data, subject.label.data)
    assert set(noisy.label.data.unique().tolist()) == {0, 2, 5}


def test_it_is_the_core_in_mm() -> None:
    subject = make()
    noisy = GaussianFieldNoise(2, 6, seed=4, mode="constant", order=1)(subject)
    field = GaussianField(2.0, 6.0, spacing=SIZES, ndim=3)
    expected = field.sample_labels(subject.label.data.numpy(), seed=[4], order=1)
    np.testing.assert_array_equal(noisy.label.data.numpy(), expected)


def test_the_voxel_size_is_that_of_a_turned_grid() -> None:
    affine = np.array([[0.6, 0, -2, 5], [0, 2, 0, 6], [0.8, 0, 1.5, 7], [0, 0, 0, 1]])
    label = torchio.LabelMap(tensor=make().label.data, affine=affine)
    assert label.spacing == pytest.approx((1, 2, 2.5))
    noisy = GaussianFieldNoise(2, 6, seed=4)(label)
    field = GaussianField(2.0, 6.0, spacing=label.spacing, ndim=3)
    expected = field.sample_labels(label.data.numpy(), seed=[4], mode="nearest")
    np.testing.assert_array_equal(noisy.data.numpy(), expected)


def test_history_gives_the_same_noise_again() -> None:
    subject = make()
    pipeline = torchio.Compose(
        [torchio.RandomFlip(), RandomGaussianFieldNoise((1, 3), (4, 8)), torchio.RandomNoise()]
    )
    noisy = draw(pipeline, 3, subject)
    names = [one.name for one in noisy.get_applied_transforms()]
    assert "GaussianFieldNoise" in names
    replayed = noisy.get_composed_history()(subject)
    assert torch.equal(replayed.label.data, noisy.label.data)
    torch.testing.assert_close(replayed.image.data, noisy.image.data)
    (entry,) = (one for one in noisy.history if isinstance(one, GaussianFieldNoise))
    assert 1 <= entry.amplitude <= 3
    assert 4 <= entry.length_scale <= 8
    assert f"seed={entry.seed}" in repr(entry)


def test_it_does_not_disturb_the_images_of_a_pipeline() -> None:
    """torch's generator: the same seed, the same noise."""
    transform = RandomGaussianFieldNoise(2, 6)
    first, second, other = (draw(transform, seed, make()).label.data for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_probability_include_and_exclude() -> None:
    subject = make()
    subject.add_image(torchio.LabelMap(tensor=subject.label.data, affine=np.diag([*SIZES, 1])), "b")
    clean = subject.label.data
    never = draw(RandomGaussianFieldNoise(2, 6, p=0), 0, subject)
    assert torch.equal(never.label.data, clean)
    for options, name in (({"include": ["b"]}, "label"), ({"exclude": ["b"]}, "b")):
        noisy = draw(RandomGaussianFieldNoise(2, 6, **options), 0, subject)
        assert torch.equal(noisy[name].data, clean)
        assert not torch.equal(noisy["b" if name == "label" else "label"].data, clean)
    both = draw(RandomGaussianFieldNoise(2, 6, keep={"label": "clean"}), 0, subject)
    assert torch.equal(both.label.data, both.b.data)  # by the same field
    assert torch.equal(both.clean.data, clean)


def test_flat_labels_and_ignored_ones() -> None:
    subject = make(shape=(24, 22, 1))
    noisy = draw(RandomGaussianFieldNoise(2, 6, mode="constant", ignore_index=5), 0, subject)
    assert noisy.label.shape == (1, 24, 22, 1)
    assert torch.equal(noisy.label.data == 5, subject.label.data == 5)
    assert not torch.equal(noisy.label.data, subject.label.data)


def test_files_loader_and_workers(tmp_path: Path) -> None:
    """Read from files, by one process or two workers, reproducible in each case."""
    for i in range(4):
        make().label.save(tmp_path / f"{i}.nii.gz")
    subjects = [torchio.Subject(label=torchio.LabelMap(tmp_path / f"{i}.nii.gz")) for i in range(4)]
    data = torchio.SubjectsDataset(subjects, transform=RandomGaussianFieldNoise(2, 6))

    def run(workers: int) -> list[Any]:
        torch.manual_seed(5)
        loader = torchio.SubjectsLoader(data, batch_size=2, num_workers=workers)
        return [label for one in loader for label in one["label"][torchio.DATA]]

    for workers in (0, 2):
        first, second = run(workers), run(workers)
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b)
        assert len({label.numpy().tobytes() for label in first}) == 4


def test_bad_input_is_refused() -> None:
    subject = make(torch.float32)
    subject.label.set_data(torch.rand(1, *SHAPE))
    with pytest.raises(ValueError, match="'label' must hold labels, which are whole numbers"):
        draw(RandomGaussianFieldNoise(2, 6), 0, subject)
    with pytest.raises(ValueError, match="amplitude must be"):
        RandomGaussianFieldNoise(-1, 6)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        GaussianFieldNoise(1, 6, seed=-1)


def test_one_hot_labels() -> None:
    subject = make()
    hot = torch.cat([subject.label.data == 0, subject.label.data > 0])
    subject.label.set_data(hot.to(torch.uint8))
    text = (
        r"^'label' must be .*one-hot ones of shape \(2, 24, 22, 12\): use argmax\(0, keepdim=True"
    )
    with pytest.raises(ValueError, match=text):
        GaussianFieldNoise(2, 6, seed=1)(subject)
    subject.label.set_data(hot.to(torch.uint8).argmax(0, keepdim=True))
    assert GaussianFieldNoise(2, 6, seed=1)(subject).label.shape == (1, *SHAPE)


def test_it_is_pickled() -> None:
    transform = pickle.loads(pickle.dumps(RandomGaussianFieldNoise(2, 6)))
    assert torch.equal(
        draw(transform, 0, make()).label.data,
        draw(RandomGaussianFieldNoise(2, 6), 0, make()).label.data,
    )
