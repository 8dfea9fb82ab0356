"""LabelNoise: the noise of a batch."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import stats

import gfnoise
from gfnoise import GaussianField

torch = pytest.importorskip("torch")

from gfnoise.torch import LabelNoise, NoisyLabels, item_seed, item_seeds  # noqa: E402

LABELS = torch.zeros(3, 1, 12, 14, 16, dtype=torch.uint8)
LABELS[0, 0, 3:9, 3:9, 4:12] = 1
LABELS[1, 0, :6, 5:, 2:9] = 2
LABELS[2, 0, 4:8, 4:8, 4:8] = 7
NOISE = LabelNoise((0.5, 2.0), (3.0, 5.0), ndim=3, p=0.7)
SEEDS = [11, 8, 2**62]


# ---------------------------------------------------------------------------------- noise


def test_it_is_the_noise_of_the_core() -> None:
    """Parameters of an item, put into GaussianField by hand."""
    noisy = NOISE(LABELS, seed=SEEDS)
    assert noisy.dtype == LABELS.dtype
    params = NOISE.sample_params(3, seed=SEEDS)
    assert {one["applied"] for one in params} == {True, False}
    for label, found, one in zip(LABELS, noisy, params, strict=True):
        field = GaussianField(one["amplitude"], one["length_scale"], ndim=3)
        expected = field.sample_labels(label, seed=[one["seed"]], mode="nearest")
        assert torch.equal(found, expected if one["applied"] else label)


def test_an_item_is_independent_of_its_batch() -> None:
    noisy = NOISE(LABELS, seed=SEEDS)
    for i in range(3):
        assert torch.equal(NOISE(LABELS[[i]], seed=[SEEDS[i]])[0], noisy[i])
    assert torch.equal(NOISE(LABELS.flip(0), seed=SEEDS[::-1]).flip(0), noisy)
    assert torch.equal(NOISE(LABELS[:, 0], seed=torch.tensor(SEEDS)), noisy[:, 0])


def test_channels_share_the_field_of_their_item() -> None:
    both = torch.cat([LABELS, 2 * LABELS], 1)
    noisy = NOISE(both, seed=SEEDS)
    assert torch.equal(noisy[:, 1], 2 * noisy[:, 0])
    assert torch.equal(noisy[:, :1], NOISE(LABELS, seed=SEEDS))


def test_strengths_are_uniform_and_p_is_a_probability() -> None:
    params = NOISE.sample_params(4000, seed=0)
    applied = sum(one["applied"] for one in params)
    assert stats.binomtest(applied, 4000, 0.7).pvalue > 1e-6
    for name, low, width in (("amplitude", 0.5, 1.5), ("length_scale", 3.0, 2.0)):
        values = [one[name] for one in params]
        assert stats.kstest(values, "uniform", (low, width)).pvalue > 1e-6
    assert len({one["seed"] for one in params}) == 4000
    for p, expected in ((0.0, False), (1.0, True)):
        noise = LabelNoise(1.0, 4.0, ndim=3, p=p)
        assert {one["applied"] for one in noise.sample_params(500, seed=1)} == {expected}


def test_the_default_seed_is_one_number_of_torchs_generator() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch.manual_seed(3)
    first, second = NOISE(LABELS), NOISE(LABELS)
    after = torch.rand(1)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    numbers = [int(torch.randint(2**63 - 1, ())) for _ in range(2)]
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(NOISE(LABELS, seed=numbers[0]), first)
    seeds = [item_seed(numbers[0], 0, i) for i in range(3)]
    assert torch.equal(NOISE(LABELS, seed=seeds), first)
    assert torch.equal(NOISE(LABELS, seed=torch.tensor(numbers[1])), second)
    assert torch.equal(NOISE(LABELS, generator=torch.Generator().manual_seed(3)), first)
    largest = item_seeds.LARGEST_SEED
    for seed in (largest, torch.tensor(largest), [0, largest, 1], torch.tensor([0, largest, 1])):
        assert NOISE.sample_params(3, seed=seed)[1]["seed"] <= largest
    for seed in (largest + 1, [0, largest + 1, 1], -1, [0, -1, 1]):
        with pytest.raises(ValueError, match=r"^seed must be an integer in \[0, 2\*\*63\)"):
            NOISE.sample_params(3, seed=seed)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_parameters_are_replayed_from_json() -> None:
    torch.manual_seed(0)
    noisy = NOISE(LABELS, spacing=[[1, 2, 1], [1, 1, 1], [0.5, 1, 1]])
    torch.manual_seed(0)
    params = NOISE.sample_params(3, spacing=[[1, 2, 1], [1, 1, 1], [0.5, 1, 1]])
    replayed = json.loads(json.dumps(params))
    assert replayed == params
    assert torch.equal(NOISE.apply(LABELS, replayed), noisy)
    assert torch.equal(LabelNoise(9.0, 9.0, ndim=3).apply(LABELS, replayed), noisy)


def test_parameters_of_whole_numbers_are_those_of_floats() -> None:
    """Other writers of JSON than Python's write 3.0 as 3."""
    params = LabelNoise(3.0, 5.0, ndim=3, spacing=(2.0, 1.0, 1.0)).sample_params(3, seed=SEEDS)
    whole = [one | {"amplitude": 3, "length_scale": 5, "spacing": [2, 1, 1]} for one in params]
    assert torch.equal(NOISE.apply(LABELS, whole), NOISE.apply(LABELS, params))
    same, one = ([one | {"spacing": size} for one in params] for size in ([2.0] * 3, 2))
    assert torch.equal(NOISE.apply(LABELS, one), NOISE.apply(LABELS, same))


@pytest.mark.parametrize("spacing", [2.0, (1.0, 2.0, 0.5), "unit", [[1.0], [2.0], [3.0]]])
def test_spacing_may_come_with_the_call(spacing: Any) -> None:
    strength = (0.1, 0.3) if spacing == "unit" else (2.0, 6.0)
    expected = GaussianField(*strength, spacing=spacing, ndim=3).sample_labels(
        LABELS, seed=SEEDS, mode="nearest"
    )
    assert torch.equal(LabelNoise(*strength, spacing=spacing, ndim=3)(LABELS, seed=SEEDS), expected)
    noise = LabelNoise(*strength, ndim=3)
    assert torch.equal(noise(LABELS, seed=SEEDS, spacing=spacing), expected)
    if isinstance(spacing, tuple):
        rows = torch.tensor([spacing] * 3)
        assert torch.equal(noise(LABELS, seed=SEEDS, spacing=rows), expected)


@pytest.mark.parametrize("options", [{"order": 1}, {"mode": "constant"}, {"ignore_index": 2}])
def test_options_reach_the_core(options: dict[str, Any]) -> None:
    noise = LabelNoise(2.0, 4.0, ndim=3, **options)
    expected = GaussianField(2.0, 4.0, ndim=3).sample_labels(
        LABELS, seed=SEEDS, **{"mode": "nearest"} | options
    )
    assert torch.equal(noise(LABELS, seed=SEEDS), expected)


def test_the_mean_is_that_of_the_marginals() -> None:
    """Of a label that touches the edge; 6.5 standard errors of 300 voxels: confidence 1 - 1e-7."""
    label = torch.zeros(1, 15, 20, dtype=torch.uint8)
    label[0, 4:, :9] = 1
    count = 4000
    noise = LabelNoise(1.5, 4.0, ndim=2)
    mean = noise(label.expand(count, 1, 15, 20), seed=6).double().mean(0)
    field = GaussianField(1.5, 4.0, ndim=2)
    expected = field.marginals(label, mode=noise.mode).double()
    spread = (expected * (1 - expected) / count).sqrt().clamp(min=1 / count)
    assert ((mean - expected).abs() < 6.5 * spread).all()
    assert not ((mean - field.marginals(label).double()).abs() < 6.5 * spread).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int16, torch.int64, torch.uint16])
def test_dtypes_in_2d(dtype: Any) -> None:
    labels = (LABELS[:, 0, 6] > 0).to(dtype)
    noise = LabelNoise(2.0, 4.0, ndim=2)
    noisy = noise(labels, seed=SEEDS)
    assert noisy.dtype == dtype
    assert not torch.equal(noisy, labels)


@pytest.mark.parametrize("order", [0, 1])
def test_no_amplitude_is_no_noise(order: int) -> None:
    noise = LabelNoise(0.0, 4.0, ndim=3, order=order)
    assert torch.equal(noise(LABELS, seed=SEEDS), LABELS)


def test_labels_are_left_as_they_are() -> None:
    before = LABELS.clone()
    for p in (0.0, 0.7, 1.0):
        noisy = LabelNoise(2.0, 4.0, ndim=3, p=p)(LABELS, seed=1)
        assert noisy.data_ptr() != LABELS.data_ptr()
        noisy.fill_(9)
        assert torch.equal(LABELS, before)
    assert NOISE(LABELS[:0]).shape == (0, 1, 12, 14, 16)


# --------------------------------------------------------------------- images and labels


def test_an_image_moves_as_its_label() -> None:
    params = NOISE.sample_params(3, seed=SEEDS)
    image = torch.rand(3, 2, 12, 14, 16, generator=torch.Generator().manual_seed(0))
    moved = NOISE.apply(image, params, interpolate=True)
    for one, found, own in zip(image, moved, params, strict=True):
        if not own["applied"]:
            assert torch.equal(found, one)
            continue
        field = GaussianField(own["amplitude"], own["length_scale"], ndim=3)
        points = field.displacement((12, 14, 16), seed=own["seed"])
        points += np.indices((12, 14, 16), np.float32)
        expected = gfnoise.map_coordinates(one.numpy(), points, mode="nearest")
        np.testing.assert_array_equal(found.numpy(), expected)
    # A step edge moves by what the label's moves, to half a voxel of interpolation.
    ramp = torch.arange(16.0).expand(3, 1, 12, 14, 16).contiguous()
    step = (ramp > 7.5).to(torch.uint8)
    noise = LabelNoise(2.0, 5.0, ndim=3)
    params = noise.sample_params(3, seed=4)
    near = (noise.apply(ramp, params, interpolate=True) - 7.5).abs() < 1e-3
    agree = noise.apply(ramp, params, interpolate=True) > 7.5
    assert (near | (agree == noise.apply(step, params).bool())).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_keep_their_dtype(dtype: Any) -> None:
    params = NOISE.sample_params(3, seed=SEEDS)
    image = torch.rand(3, 1, 12, 14, 16).to(dtype)
    moved = NOISE.apply(image, params, interpolate=True)
    assert moved.dtype == dtype
    expected = NOISE.apply(image.double(), params, interpolate=True)
    torch.testing.assert_close(moved.double(), expected, atol=2 * torch.finfo(dtype).eps, rtol=0)


def test_an_image_may_require_a_gradient() -> None:
    image = torch.rand(3, 1, 12, 14, 16, requires_grad=True)
    NOISE.apply(image, NOISE.sample_params(3, seed=SEEDS), interpolate=True).sum().backward()
    # Interpolation weights of a point sum to 1, and outside is the nearest voxel.
    torch.testing.assert_close(image.grad.sum(), torch.tensor(float(image.numel())))


def test_a_dict_moves_together() -> None:
    image = torch.rand(3, 2, 12, 14, 16)
    sample = {"image": image, "label": LABELS, "mask": LABELS[:, 0] > 0, "id": torch.arange(3)}
    sample |= {"spacing": torch.ones(3, 3), "name": ["a", "b", "c"]}
    moved = NOISE(sample, seed=SEEDS)
    params = NOISE.sample_params(3, seed=SEEDS)
    assert list(moved) == list(sample)
    assert torch.equal(moved["label"], NOISE.apply(LABELS, params))
    assert torch.equal(moved["mask"], moved["label"][:, 0] > 0)
    assert torch.equal(moved["image"], NOISE.apply(image, params, interpolate=True))
    assert all(moved[key] is sample[key] for key in ("id", "spacing", "name"))
    noise = copy.deepcopy(NOISE).eval()
    assert noise(sample) is sample


# ---------------------------------------------------------------------------- as a module


def test_as_a_module() -> None:
    assert NOISE.state_dict() == {}
    assert not [*NOISE.parameters(), *NOISE.buffers()]
    expected = NOISE(LABELS, seed=1)
    for other in (
        copy.deepcopy(NOISE),
        pickle.loads(pickle.dumps(NOISE)),
        copy.deepcopy(NOISE).to("cpu").half(),
        copy.deepcopy(NOISE).double(),
    ):
        assert torch.equal(other(LABELS, seed=1), expected)
    model = torch.nn.Sequential(copy.deepcopy(NOISE), torch.nn.Identity())
    visited: list[Any] = []
    assert model.apply(visited.append) is model  # torch's own `apply`
    assert len(visited) == 3
    with torch.autocast("cpu"), torch.inference_mode():
        assert torch.equal(NOISE(LABELS, seed=1), expected)
    model.eval()
    assert model(LABELS) is LABELS
    assert repr(NOISE).startswith("LabelNoise(amplitude=(0.5, 2.0), length_scale=(3.0, 5.0), ndim=")


# ------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"amplitude": (3.0, 1.0)}, ValueError, r"^amplitude .*low <= high, got \(3\.0, 1\.0\)"),
        ({"amplitude": (1.0, 2.0, 3.0)}, ValueError, r"^amplitude .*range \(low, high\)"),
        ({"amplitude": -1}, ValueError, "^amplitude .*at least 0, got -1"),
        ({"amplitude": (0, float("nan"))}, ValueError, "^amplitude .*got nan"),
        ({"amplitude": "1"}, TypeError, "^amplitude .*got '1'"),
        ({"length_scale": (0.0, 1.0)}, ValueError, r"^length_scale .*positive.*got 0\.0"),
        ({"length_scale": None}, TypeError, "^length_scale .*got None"),
        ({"p": 1.5}, ValueError, r"^p must be a number in \[0, 1\], got 1\.5"),
        ({"p": -0.1}, ValueError, r"^p must be a number in \[0, 1\], got -0\.1"),
        ({"p": True}, TypeError, "^p .*got True"),
        ({"order": 3}, ValueError, "^order must be one of 0, 1, got 3"),
        ({"mode": "reflect"}, ValueError, "^mode must be one of .*got 'reflect'"),
        ({"ndim": 4}, ValueError, "^ndim must be 2 or 3, got 4"),
        ({"spacing": 0.0}, ValueError, r"^spacing .*got 0\.0"),
        ({"ignore_index": 0.5}, TypeError, r"^ignore_index .*got 0\.5"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        LabelNoise(**{"amplitude": 1.0, "length_scale": 4.0, "ndim": 3} | given)


# Of a patch with few planes, classes last: it could be nine raters of thin volumes.
LAST = torch.nn.functional.one_hot(torch.arange(2 * 9 * 20 * 22).reshape(2, 9, 20, 22) % 5)


def one_hot() -> Any:
    return torch.nn.functional.one_hot((LABELS[:, 0] > 0).long(), 2).movedim(-1, 1)


@pytest.mark.parametrize(
    ("labels", "options", "error", "match"),
    [
        (
            LABELS.float(),
            {},
            TypeError,
            r"^labels .*integer dtype \(.*\.to\(torch\.uint8\).*got torch\.f",
        ),
        (one_hot(), {}, ValueError, r"^labels must be integer-coded, .*use argmax\(1"),
        (one_hot().bool(), {}, ValueError, "^labels must be integer-coded, got one-hot"),
        (LAST, {}, ValueError, r"^labels .*one-hot .*\(2, 9, 20, 22, 5\): use argmax\(-1\)"),
        (LAST[..., :1], {}, ValueError, r"^labels .* \(2, 9, 20, 22, 1\), whose channels look"),
        (LABELS.numpy(), {}, TypeError, r"^labels must be a torch tensor, got numpy\.ndarray"),
        (LABELS[0, 0], {}, ValueError, r"^labels .*\(B, C, \*space\) .*ndim=3.*got \(12, 14, 16\)"),
        (LABELS[None], {}, ValueError, r"^labels .*got \(1, 3, 1, 12, 14, 16\)"),
        (LABELS, {"seed": [1, 2]}, ValueError, "^seed .*3 items, got 2 seeds"),
        (LABELS, {"seed": -1}, ValueError, r"^seed .*\[0, 2\*\*63\).*got -1"),
        (LABELS, {"seed": torch.rand(3)}, TypeError, "^seed must be an integer"),
        (LABELS, {"spacing": [[1.0], [2.0]]}, ValueError, "^spacing .*for 3 items, got 2"),
        (LABELS, {"spacing": -1.0}, ValueError, "^spacing .*positive"),
        ({"id": 3}, {}, ValueError, "^a dict must hold labels .*got neither"),
        (
            {"image": LABELS.float(), "label": LABELS.float(), "id": torch.arange(3)},
            {},
            TypeError,
            r"^a dict must hold labels .*integer dtype \(.*'image' .*'label' of torch\.float32",
        ),
        ({"a": LABELS, "b": LABELS[:2]}, {}, ValueError, r"one batch .*'a' of \(3, .*'b' of \(2, "),
        ({"image": LABELS.float(), "hot": one_hot()}, {}, ValueError, "^'hot' must be integer-cod"),
    ],
)
def test_bad_labels_are_refused(
    labels: Any, options: dict[str, Any], error: Any, match: str
) -> None:
    with pytest.raises(error, match=match):
        NOISE(labels, **options)


def test_noise_of_a_field() -> None:
    field = GaussianField(1.5, 6.0, spacing=(2.0, 1.0, 0.5), ndim=3)
    noise = LabelNoise.from_field(field, p=0.5, mode="constant")
    assert repr(noise) == repr(
        LabelNoise(1.5, 6.0, spacing=(2.0, 1.0, 0.5), p=0.5, mode="constant", ndim=3)
    )
    for wrong, error, match in [
        ((1.5, 6.0), TypeError, "^field must be a GaussianField, got tuple"),
        (GaussianField((1, 2, 3), 6.0, ndim=3), ValueError, "^field must have one amplitude"),
        (GaussianField(1.0, [[6.0], [7.0]], ndim=2), ValueError, "^field must have one length_sc"),
    ]:
        with pytest.raises(error, match=match):
            LabelNoise.from_field(wrong)


def test_channels_that_only_begin_like_one_hot_labels() -> None:
    labels = torch.zeros(1, 2, 12, 14, 16, dtype=torch.uint8)
    labels[:, 0] = 1
    labels[:, 0, 6:] = 3
    assert NOISE(labels, seed=1).shape == labels.shape


@pytest.mark.parametrize(
    ("shape", "ndim"),
    [((2, 32, 40, 1), 2), ((2, 40, 32, 4), 2), ((2, 30, 40, 1), 2), ((2, 32, 32, 20, 1), 3)],
)
def test_channels_at_the_end_are_refused(shape: tuple[int, ...], ndim: int) -> None:
    """By their shape alone: as many channels as voxels, and next to no voxels along an axis."""
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[:, 8:20, 8:20] = 1
    noise = LabelNoise(1.0, 4.0, ndim=ndim)
    listed = ", ".join(map(str, shape))
    match = rf"^labels must be of shape \(B, C, \*space\), got \({listed}\), .* movedim\(-1, 1\)$"
    with pytest.raises(ValueError, match=match):
        noise(labels)
    listed = ", ".join(map(str, shape[1:]))
    match = (
        rf"^a sample's 0 must be of shape \(C, \*space\), got \({listed}\), .* movedim\(-1, 0\)$"
    )
    with pytest.raises(ValueError, match=match):
        NoisyLabels([(labels[0],)], noise, 0)[0]
    assert noise(labels.movedim(-1, 1)).shape == (2, shape[-1], *shape[1:-1])


@pytest.mark.parametrize(
    ("shape", "ndim"),
    [
        *[((2, 4, 32, 40, 1), 3), ((2, 1, 8, 9), 2), ((2, 8, 16, 16, 2), 3), ((2, 0, 8, 9), 2)],
        *[
            ((2, 5, 0, 0), 2),
            ((1, 128, 128, 32), 2),
            ((0, 32, 32, 1), 2),
            ((2, 16, 16, 1), 3),
            ((2, 8, 8, 8), 2),
        ],
    ],
)
def test_flat_images_and_many_raters_are_not(shape: tuple[int, ...], ndim: int) -> None:
    labels = torch.zeros(shape, dtype=torch.uint8)
    assert LabelNoise(1.0, 4.0, ndim=ndim)(labels).shape == shape


def test_a_generator_of_another_device() -> None:
    class Elsewhere:
        device = torch.device("cuda", 0)

    with pytest.raises(ValueError, match=r"^generator must be one of the CPU, got one of cuda:0"):
        NOISE(LABELS, generator=Elsewhere())


@pytest.mark.parametrize(
    "params",
    [None, 3, [], [{"seed": 1}] * 3, [3, 4, 5], NOISE.sample_params(2, seed=1)],
)
def test_bad_parameters_are_refused(params: Any) -> None:
    with pytest.raises(ValueError, match=r"^params must hold seed, .* for each of 3 items, got"):
        NOISE.apply(LABELS, params)


@pytest.mark.parametrize(
    ("key", "value", "error", "match"),
    [
        (
            "amplitude",
            -1.0,
            ValueError,
            r"params\[1\]\['amplitude'\] must be a finite number of at",
        ),
        ("amplitude", "3", TypeError, r"params\[1\]\['amplitude'\] must be a finite .*got '3'"),
        ("seed", -1, ValueError, r"params\[1\]\['seed'\] must be an integer of at least 0"),
        ("length_scale", 0, ValueError, r"params\[1\]\['length_scale'\] must be a positive"),
        ("spacing", [1.0, 2.0], ValueError, r"params\[1\]\['spacing'\] must be a scalar or of sh"),
        ("spacing", "mm", TypeError, r"params\[1\]\['spacing'\] must be a number or an array"),
        (
            "spacing",
            "unit",
            ValueError,
            "params must hold the spacing 'unit' for all items or none",
        ),
    ],
)
def test_bad_parameters_of_an_item(key: str, value: Any, error: Any, match: str) -> None:
    params = NOISE.sample_params(3, seed=SEEDS)
    params[1][key] = value
    with pytest.raises(error, match=f"^{match}"):
        NOISE.apply(LABELS, params)


def test_images_are_floats() -> None:
    with pytest.raises(TypeError, match=r"^labels must be of a floating dtype, got torch\.uint8"):
        NOISE.apply(LABELS, NOISE.sample_params(3), interpolate=True)


@pytest.mark.parametrize("name", ["bool", "uint8", "uint16", "uint32", "uint64", "int64"])
def test_some_items_of_a_batch(name: str) -> None:
    """Some of which are left as they are, whatever torch can do with the dtype."""
    dtype = getattr(torch, name)
    labels = torch.zeros(6, 1, 12, 12, dtype=dtype)
    labels[..., 3:9, 3:9] = 1
    noise = LabelNoise(3.0, 4.0, ndim=2, p=0.5)
    params = noise.sample_params(6, seed=[1, 2, 3, 4, 5, 6])
    assert {one["applied"] for one in params} == {True, False}
    together = noise(labels, seed=[1, 2, 3, 4, 5, 6])
    assert together.dtype == dtype
    for i in range(6):
        alone = noise(labels[i : i + 1], seed=[i + 1])
        assert np.array_equal(together[i : i + 1].numpy(), alone.numpy())


def test_seeds_stay_on_the_cpu_whatever_torchs_default_device() -> None:
    labels = torch.zeros(2, 1, 12, 12, dtype=torch.uint8)
    labels[..., 3:9, 3:9] = 1
    noise = LabelNoise(3.0, 4.0, ndim=2)

    def drawn() -> list[Any]:
        generator = torch.Generator().manual_seed(5)
        torch.manual_seed(5)
        loaded = NoisyLabels([(labels[0],)] * 2, noise, 0)
        loaded.set_epoch(3)
        loaded.load_state_dict(loaded.state_dict())
        return [noise(labels), noise(labels, generator=generator), loaded[1][0]]

    expected = drawn()
    torch.set_default_device("meta")
    try:
        found = drawn()
    finally:
        torch.set_default_device(None)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_ranges_of_numpy_are_those_of_plain_numbers() -> None:
    noise = LabelNoise(np.array([0.5, 2.0]), np.array(4), ndim=3)
    assert repr(noise) == repr(LabelNoise((0.5, 2.0), 4.0, ndim=3))
