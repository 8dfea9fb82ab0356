"""The adapters in their hosts against the core, at 128³ and fresh seeds.

Beside each, the host runs a transform of the same base classes that changes nothing: what the host
takes for itself. Every call that is timed comes after one of the core, as those of a pipeline come
after others: what it needs has left the caches, and takes several times as long as in a loop.
"""

import itertools
import statistics
import time
from typing import Any

import numpy as np
import pytest

import gfnoise
from cases import MIDDLE, STRUCTURES
from gfnoise._cpu import _pool

torch = pytest.importorskip("torch")

STRENGTH = {"amplitude": 4.0, "length_scale": 11.3}
ROUNDS = 120
DRAWS = 16  # of one, the share of voxels that change varies by a third on a small label


def measure(race, adapter, idle, labels):
    """Verify, then time by turns; an adapter and an idle transform take labels (1, z, y, x)."""
    array, seeds = labels.numpy(), itertools.count()
    field = gfnoise.GaussianField(**STRENGTH, ndim=3)

    def core():
        return field.sample_labels(array, seed=[next(seeds)], mode="nearest")

    verify(lambda: np.asarray(adapter(labels)), core, array)
    np.testing.assert_array_equal(np.asarray(idle(labels)), array)
    seconds: dict[Any, list[float]] = {core: [], idle: []}

    def turn():
        for function, args in ((core, ()), (idle, (labels,)), (core, ())):
            start = time.perf_counter()
            function(*args)
            seconds[function].append(time.perf_counter() - start)

    race.turns(lambda: adapter(labels), turn, ROUNDS)
    race.benchmark.extra_info |= {
        "reference": "GaussianField.sample_labels",
        "reference_median": statistics.median(seconds[core]),
        "idle_median": statistics.median(seconds[idle]),
        "voxels": array.size,
        "threads": _pool.threads(),
        "extra_bytes_per_voxel": race.extra_bytes(lambda: adapter(labels)) / array.size,
        "reference_bytes_per_voxel": race.extra_bytes(core) / array.size,
    }


def verify(adapter, core, labels):
    """As much noise as the core's, of other seeds, and no other labels."""
    results = [adapter() for _ in range(DRAWS)]
    for result in results:
        assert result.dtype == labels.dtype
        assert result.shape == labels.shape
        assert set(np.unique(result)) == set(np.unique(labels))
    ours = np.mean([result != labels for result in results])
    theirs = np.mean([core() != labels for _ in range(DRAWS)])
    assert 0.5 * theirs < ours < 2 * theirs


def ball(dtype):
    return torch.from_numpy(STRUCTURES["ball"](MIDDLE)[None].astype(dtype))


@pytest.mark.parametrize("kind", ["array", "dictionary"])
def test_monai(race, kind):
    monai = pytest.importorskip("monai.transforms")
    from monai.data import MetaTensor, get_track_meta
    from monai.utils import convert_to_tensor

    from gfnoise.integrations.monai import RandGaussianFieldNoise, RandGaussianFieldNoised

    class Idle(monai.RandomizableTransform):
        def __call__(self, img, randomize=True):
            img = convert_to_tensor(img, track_meta=get_track_meta())
            self.randomize(None)
            return img

    class Idled(monai.RandomizableTransform, monai.MapTransform):
        def __init__(self, keys):
            monai.MapTransform.__init__(self, keys)
            monai.RandomizableTransform.__init__(self)
            self._one = Idle()

        def __call__(self, data):
            data = dict(data)
            self.randomize(None)
            for key in self.key_iterator(data):
                data[key] = self._one(data[key])
            return data

    if kind == "array":
        noise, idle = RandGaussianFieldNoise(**STRENGTH, prob=1.0), Idle()
    else:
        noised, idled = RandGaussianFieldNoised("label", **STRENGTH, prob=1.0), Idled("label")

        def noise(label):
            return noised({"label": label})["label"]

        def idle(label):
            return idled({"label": label})["label"]

    measure(race, noise, idle, MetaTensor(ball(np.uint8)))


def test_torchio(race):
    torchio = pytest.importorskip("torchio")
    if torchio.__version__.partition(".")[0] != "1":
        pytest.skip("TorchIO 1 is missing")
    from torchio.transforms.augmentation import RandomTransform
    from torchio.transforms.preprocessing.label.label_transform import LabelTransform

    from gfnoise.integrations.torchio import RandomGaussianFieldNoise

    class Idle(LabelTransform):
        def apply_transform(self, subject):
            for image in self.get_images(subject):
                image.set_data(image.data)
            return subject

    class RandomIdle(RandomTransform, LabelTransform):  # which applies another, as TorchIO's do
        def apply_transform(self, subject):
            return Idle(**self._get_base_args())(subject)

    def through(transform):
        def call(labels):
            subject = torchio.Subject(label=torchio.LabelMap(tensor=labels))
            return transform(subject)["label"].data

        return call

    noise = RandomGaussianFieldNoise(**STRENGTH, copy=False)
    measure(race, through(noise), through(RandomIdle(copy=False)), ball(np.uint8))


def test_torchio2(race):
    torchio = pytest.importorskip("torchio", minversion="2.0.0a2", reason="TorchIO 2 is missing")
    from gfnoise.integrations.torchio2 import GaussianFieldNoise

    class Idle(torchio.Transform):
        def apply_transform(self, batch, params):
            return batch

    def through(transform):
        return lambda labels: transform(torchio.Subject(label=torchio.LabelMap(labels))).label.data

    noise = GaussianFieldNoise(**STRENGTH, copy=False)
    measure(race, through(noise), through(Idle(copy=False)), ball(np.uint8))


def test_nnunet(race):
    basic = pytest.importorskip("batchgeneratorsv2.transforms.base.basic_transform")
    from gfnoise.integrations.nnunet import GaussianFieldNoiseTransform

    class Idle(basic.SegOnlyTransform):
        def _apply_to_segmentation(self, segmentation, **params):
            return segmentation

    def through(transform):
        return lambda labels: transform(segmentation=labels)["segmentation"]

    noise = GaussianFieldNoiseTransform(**STRENGTH, spacing=(1.0, 1.0, 1.0))
    measure(race, through(noise), through(Idle()), ball(np.int16))
