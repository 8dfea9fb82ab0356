"""The TorchIO 2 adapter, in TorchIO's own pipelines."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torchio", exc_type=ImportError)

import torch
import torchio

if torchio.__version__.partition(".")[0] != "2":
    pytest.skip("this is TorchIO 1", allow_module_level=True)

from gfnoise import GaussianField
from gfnoise.integrations.torchio2 import GaussianFieldNoise

SIZES = (0.8, 0.9, 2.5)
SHAPE = (24, 22, 12)


def make(dtype: Any = torch.uint8, shape: tuple[int, ...] = SHAPE) -> Any:
    label = torch.zeros(1, *shape, dtype=dtype)
    label[(0, *(slice(n // 4, -(-3 * n // 4)) for n in shape))] = 2
    label[(0, *(slice(n // 3, -(-n // 2)) for n in shape))] = 5
    affine = torch.diag(torch.tensor([*SIZES, 1.0], dtype=torch.float64))
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    return torchio.Subject(
        image=torchio.ScalarImage(image, affine=affine),
        label=torchio.LabelMap(label, affine=affine),
    )


def draw(transform: Any, seed: int, data: Any) -> Any:
    torch.manual_seed(seed)
    return transform(data)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_labels_alone_change(dtype: Any) -> None:
    subject = make(dtype)
    noisy = draw(GaussianFieldNoise((1, 3), 6), 0, subject)
    assert noisy.label.data.dtype == dtype
    assert noisy.label.spacing == pytest.approx(SIZES)
    assert torch.equal(noisy.image.data, subject.image.data)
    assert torch.equal(subject.label.data, make(dtype).label.data)
    assert not torch.equal(noisy.label.data, subject.label.data)
    assert set(noisy.label.data.unique().tolist()) == {0, 2, 5}


def test_it_is_the_core_in_mm_and_in_the_history() -> None:
    subject = make()
    noisy = draw(torchio.Compose([GaussianFieldNoise((1, 3), 6, mode="constant")]), 0, subject)
    (trace,) = (one for one in noisy.applied_transforms if one.name == "GaussianFieldNoise")
    params = json.loads(json.dumps(trace.params))
    field: Any = GaussianField(params["amplitude"], 6.0, spacing=SIZES, ndim=3)
    expected = field.sample_labels(subject.label.data, seed=[params["seed"]])
    assert torch.equal(noisy.label.data, expected)

    batch = torchio.SubjectsBatch.from_subjects([make()])
    replayed = GaussianFieldNoise(1, 6, mode="constant").apply_transform(batch, params)
    assert torch.equal(replayed.label.data[0], noisy.label.data)


def test_items_of_a_batch_have_noise_of_their_own() -> None:
    """Each subject its own noise, in the history of each; or one for all."""
    batch = torchio.SubjectsBatch.from_subjects([make() for _ in range(6)])
    transform = GaussianFieldNoise((1, 3), 6)
    subjects = draw(transform, 1, batch).unbatch()
    assert len({one.label.data.numpy().tobytes() for one in subjects}) == 6
    for one in subjects:
        params = one.applied_transforms[-1].params
        alone = torchio.SubjectsBatch.from_subjects([make()])
        assert torch.equal(transform.apply_transform(alone, params).label.data[0], one.label.data)

    some = draw(GaussianFieldNoise(2, 6, p=0.5), 1, batch).unbatch()
    changed = [not torch.equal(one.label.data, make().label.data) for one in some]
    assert 0 < sum(changed) < 6
    assert changed == [bool(one.applied_transforms) for one in some]

    shared = draw(GaussianFieldNoise(2, 6, per_instance=False), 1, batch).unbatch()
    assert len({one.label.data.numpy().tobytes() for one in shared}) == 1


def test_flat_labels_and_ignored_ones() -> None:
    subject = make(shape=(24, 22, 1))
    noisy = draw(GaussianFieldNoise(2, 6, mode="constant", ignore_index=5), 0, subject)
    assert torch.equal(noisy.label.data == 5, subject.label.data == 5)
    assert not torch.equal(noisy.label.data, subject.label.data)


def test_seeds_and_bad_input() -> None:
    transform = GaussianFieldNoise(2, 6)
    first, second, other = (draw(transform, seed, make()).label.data for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(
        draw(GaussianFieldNoise(2, 6, exclude=["label"]), 0, make()).label.data, make().label.data
    )
    subject = make(torch.float32)
    subject.label.set_data(torch.rand(1, *SHAPE))
    with pytest.raises(ValueError, match="'label' must hold labels, which are whole numbers"):
        transform(subject)


def test_one_hot_labels() -> None:
    subject = make()
    hot = torch.cat([subject.label.data == 0, subject.label.data > 0]).to(torch.uint8)
    subject.label.set_data(hot)
    text = (
        r"^'label' must be .*one-hot ones of shape \(2, 24, 22, 12\): use argmax\(0, keepdim=True"
    )
    with pytest.raises(ValueError, match=text):
        GaussianFieldNoise(2, 6)(subject)
