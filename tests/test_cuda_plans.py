"""Plans of calls on a device: what is kept from call to call, and what each call brings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_on_host.launcher import HostLauncher
from gfnoise import GaussianField
from gfnoise._cpu import _dinkelbach, _vector
from gfnoise._cuda import _labels, _launch, _plans, field, filters, interpolation, thresholding
from gfnoise._cuda._plans import room_for_terms
from gfnoise._sampling import noisy_labels
from gfnoise._shared import spectrum
from gfnoise._shared.digits import BINS, HALF, OF_THE_MASS
from gfnoise._shared.modes import BEYOND
from gfnoise._shared.runs import SIDE
from gfnoise._shared.spectrum import harmonics

LABELS = (np.indices((2, 7, 21, 37)).sum(axis=0) // 9 % 3).astype(np.uint8)


OF_LABELS = {"FAR": float(_vector.FAR)}
OF_FIELDS = {name: getattr(_plans, name) for name in ("ROWS", "THREADS", "RUN")} | OF_LABELS
OF_KERNELS = {
    "field": OF_FIELDS | {"ITEMS": _plans.ITEMS, "DEEP": _plans.DEEP, "LARGEST": spectrum.LARGEST},
    "sampling": OF_FIELDS | {"TILE_RUNS": field._TILE_RUNS, "WORK": field._WORK, "SIDE": SIDE},
    "filters": {n: getattr(filters, n) for n in ("THREADS", "EIGHT", "WIDE", "HIGH", "ITEMS")},
    "interpolation": OF_LABELS | {"THREADS": interpolation.THREADS, "BEYOND": BEYOND},
    "thresholding": {"THREADS": thresholding.THREADS, "CHUNK": thresholding.CHUNK, "BINS": BINS}
    | {"OF_THE_MASS": OF_THE_MASS, "HALF": HALF, "TIE": _dinkelbach.TIE},
    "votes": {"THREADS": thresholding.THREADS, "OF_THE_MASS": OF_THE_MASS},
}


@pytest.mark.parametrize(
    ("stem", "name"), [(stem, name) for stem, names in OF_KERNELS.items() for name in names]
)
def test_numbers_are_those_of_the_kernels(stem: str, name: str) -> None:
    found = re.findall(rf"^#define {name} \(?([-+\w.]+)", _launch.source(stem), re.MULTILINE)
    assert [float(one.removesuffix("f")) for one in found] == [OF_KERNELS[stem][name]]


def test_large_plans_are_not_kept(host: HostLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "_MOST_KEPT", 1)
    noise = GaussianField(1.25, 4.0, ndim=2)
    for items, kept in ((1, 1), (2, 0)):
        before = field._sampling_plan.cache_info().misses
        noise.sample_labels(LABELS[:items, 0], seed=0)
        assert field._sampling_plan.cache_info().misses - before == kept


def test_room_for_terms_of_any_longer_length_scale() -> None:
    scales = np.concatenate([np.linspace(0.02, 4, 60), np.geomspace(4, 1000, 40)])
    for n in (1, 2, 3, 7, 16, 33, 64, 128, 131):
        terms = [harmonics(n, float(b)).terms for b in scales]
        for i, b in enumerate(scales):
            assert max(terms[i:]) <= room_for_terms(n, float(b))


@pytest.mark.parametrize(
    ("source", "name", "dtype"),
    [
        ("uniform.cuh", "Cells", _plans.CELLS),
        ("field.cuh", "Stream", _plans._STREAM),
        ("field.cuh", "Field", _plans._FIELD),
        ("field.cu", "Cut", _plans._CUT),
        ("field.cu", "Streams", _plans._STREAMS),
        ("sampling.cu", "Sampling", np.dtype([*field._SAMPLING, ("rule", "u1")])),
        ("labels.cuh", "Shape", _labels.SHAPE),
        ("labels.cuh", "Rule", _labels.rule_dtype(np.dtype(np.uint8))),
        ("filters.cu", "Taps", filters._TAPS),
        ("filters.cu", "Volumes", filters._VOLUMES),
        ("filters.cu", "Indicator", filters._INDICATOR),
        ("thresholding.cu", "Search", thresholding._SEARCH),
    ],
)
def test_structures_have_their_fields_in_one_order(source: str, name: str, dtype: Any) -> None:
    """Their sizes are compared at each launch."""
    text = re.sub("//.*", "", (Path(filters.__file__).parent / source).read_text())
    (body,) = re.findall(rf"^struct {name} {{(.*?)^}};", text, re.MULTILINE | re.DOTALL)
    assert tuple(re.findall(r"(\w+)(?:\[\w+\])*[,;]", body)) == dtype.names


@pytest.mark.parametrize("lengths", [(3.0, 9.0), (0.05, 2.0), (6.7, 6.9)])
def test_strengths_that_are_on_the_device(lengths: tuple[float, float], host: HostLauncher) -> None:
    """Spectra are cut there, where the host knows but the range of length scales."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([LABELS] * 10)
    strengths = np.stack(
        [rng.uniform(0.5, 3, (len(labels), 3)), rng.uniform(*lengths, (len(labels), 3))], axis=1
    )
    seeds = np.arange(len(labels))
    bounds = GaussianField(3.0, lengths[0], ndim=3)
    for order in (0, 1):
        exact = GaussianField(strengths[:, 0], strengths[:, 1], ndim=3)
        expected = exact.sample_labels(labels, seed=seeds, order=order)
        for own in (strengths, strengths.tolist()):  # a list goes by value
            found = noisy_labels(bounds, labels, seed=seeds, order=order, strengths=own)
            assert np.array_equal(found, expected)


def test_strengths_within_bounds_need_no_new_plan(host: HostLauncher) -> None:
    """Where their field is too rough for shared memory, each call has its own, not kept."""
    rng = np.random.default_rng(0)
    label = np.zeros((1, 70, 90), np.uint8)
    label[:, 20:50, 30:70] = 1
    for least in (4.0, 0.2):
        bounds, plans = GaussianField(3.0, least, ndim=2), []
        for seed in range(3):
            own = [[rng.uniform(0, 3, 2).tolist(), rng.uniform(4, 9, 2).tolist()]]
            before = field._sampling_plan.cache_info().misses
            found = noisy_labels(bounds, label, seed=[seed], strengths=own)
            assert host.launches[-1] == ("sampling", "sample_labels")
            plans.append(field._sampling_plan.cache_info().misses - before)
            exact = GaussianField(*own[0], ndim=2).sample_labels(label, seed=[seed])
            assert np.array_equal(found, exact)
        assert plans == [1, 0, 0]
