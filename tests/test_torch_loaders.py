"""Data sets and loaders: the same noise whatever the workers, the batches, the rank."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections import UserDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gfnoise import GaussianField
from limits import LIMIT

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from gfnoise.torch import LabelNoise, NoisyLabelLoader, NoisyLabels, item_seed  # noqa: E402
from gfnoise.torch._samples import Change  # noqa: E402
from labelled import (  # noqa: E402
    COUNT,
    EPOCHS,
    LABEL,
    MARKS,
    NOISE,
    Here,
    Items,
    Stream,
    digest,
    labels_of,
)

pytestmark = MARKS
HOT = torch.cat([1 - LABEL, LABEL])
NOISED = NOISE(LABEL[None], seed=[item_seed(0, 0, 0)])


def test_no_two_items_or_epochs_share_their_noise() -> None:
    every = [label for epoch in EPOCHS for label in epoch.values()]
    assert len(set(every)) == len(every) == 4 * COUNT


# ------------------------------------------------------------------------- any arrangement


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_and_workers_change_nothing(workers: int, batch_size: int) -> None:
    options = {"num_workers": workers, "batch_size": batch_size, "timeout": LIMIT * (workers > 0)}
    context = {"multiprocessing_context": "fork"} if workers else {}
    loader = NoisyLabelLoader(Items(), NOISE, "label", **options, **context)
    assert dict(labels_of(loader)) == EPOCHS[0]
    assert len(loader) == -(-COUNT // batch_size)
    plain = DataLoader(NoisyLabels(Items(), NOISE, "label"), **options, **context)
    assert dict(labels_of(plain)) == EPOCHS[0]


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_epochs_reach_persistent_workers(method: str, workers: int) -> None:
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": True, "batch_size": 3}
    options |= {"multiprocessing_context": method, "timeout": LIMIT}
    dataset = NoisyLabels(Items(), NOISE, "label")
    plain = DataLoader(dataset, shuffle=True, **options)
    for epoch in (2, 0, 3):
        dataset.set_epoch(epoch)
        assert dict(labels_of(plain)) == EPOCHS[epoch]
    del plain
    loader = NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, **options)
    assert [dict(labels_of(loader)) for _ in range(2)] == EPOCHS[:2]
    loader.set_epoch(3)
    assert dict(labels_of(loader)) == EPOCHS[3]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [0, 1])
def test_eval_reaches_workers_that_run(kind: int, workers: int) -> None:
    noise = copy.deepcopy(NOISE)
    options: dict[str, Any] = {"num_workers": workers, "timeout": LIMIT * (workers > 0)}
    loader = (NoisyLabelLoader, Here)[kind](
        Items(), noise, "label", batch_size=4, persistent_workers=workers > 0, **options
    )
    noise.eval()
    assert {label for _, label in labels_of(loader)} == {digest(LABEL)}
    noise.train()
    assert dict(labels_of(loader)) == EPOCHS[1]
    noise.eval()
    assert {label for _, label in labels_of(loader)} == {digest(LABEL)}
    noise.train()
    assert dict(labels_of(loader)) == EPOCHS[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_passes_at_once(workers: int) -> None:
    """Each has the order and the noise of its own epoch."""

    def make() -> NoisyLabelLoader:
        options: dict[str, Any] = {"timeout": LIMIT * (workers > 0), "num_workers": workers}
        return NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, batch_size=3, **options)

    loader = make()
    expected = [labels_of(loader) for _ in range(2)]
    loader = make()
    both = [*zip(loader, loader, strict=True)]
    assert [labels_of(one) for one in zip(*both, strict=True)] == expected


def test_workers_that_do_not_persist() -> None:
    loader = NoisyLabelLoader(Items(), NOISE, "label", num_workers=2, batch_size=4, timeout=LIMIT)
    assert [dict(labels_of(loader)) for _ in range(3)] == EPOCHS[:3]


def test_forked_workers_after_threads() -> None:
    """The parent has used its pool; a worker runs on one thread, and does not hang."""
    volume = np.zeros((20, 70, 70), np.uint8)
    GaussianField(2.0, 5.0, ndim=3).sample_labels(volume, seed=0)
    options: dict[str, Any] = {"num_workers": 2, "timeout": LIMIT, "batch_size": 2}
    loader = NoisyLabelLoader(Items(), NOISE, "label", multiprocessing_context="fork", **options)
    for batch in loader:
        assert batch["info"].all()
        assert (batch["threads"] == 1).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_noise_on_batches_is_that_on_samples(workers: int) -> None:
    loader = Here(Items(), NOISE, "label", batch_size=4, num_workers=workers, clean_key="clean")
    for epoch in range(2):
        batches = list(loader)
        assert dict(labels_of(batches)) == EPOCHS[epoch]
        assert all((batch["clean"] == LABEL).all() for batch in batches)


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    sampler = DistributedSampler(Items(), shuffle=True)
    loader = NoisyLabelLoader(Items(), NOISE, "label", sampler=sampler, batch_size=2)
    found = [labels_of(loader) for _ in range(2)]
    weights = [1.0] * COUNT
    drawn = NoisyLabelLoader(
        Items(), NOISE, "label", sampler=WeightedRandomSampler(weights, 8), batch_size=3
    )
    found.append(labels_of(drawn))
    Path(folder, f"{rank}").write_bytes(pickle.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_ranks_share_the_items(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(LIMIT)
        assert one.exitcode == 0
    found = [pickle.loads((tmp_path / f"{rank}").read_bytes()) for rank in range(2)]
    for epoch in range(2):
        both = found[0][epoch] + found[1][epoch]
        assert len(both) == 12
        assert {index for index, _ in both} == set(range(COUNT))
        assert all(EPOCHS[epoch][index] == label for index, label in both)
    assert found[0][0] != found[0][1]
    # With replacement, positions count over the ranks: all different.
    drawn = [label for _, label in found[0][2] + found[1][2]]
    assert len(set(drawn)) == len(drawn) == 16


# ------------------------------------------------------------------ iterables and replacement


def by_position(label: Any, position: int, epoch: int = 0) -> bool:
    clean = LABEL[None]
    return torch.equal(label, NOISE(clean, seed=[item_seed(0, epoch, position)])[0])


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_iterables_are_keyed_by_position(batch_size: int) -> None:
    loader = NoisyLabelLoader(Stream(), NOISE, 0, batch_size=batch_size)
    assert loader.by == "position"
    for epoch in range(2):
        labels = [label for batch, _ in loader for label in batch]
        assert len(labels) == COUNT
        assert all(by_position(label, i, epoch) for i, label in enumerate(labels))
    with pytest.raises(TypeError, match="has no len"):
        len(loader)


def test_iterables_with_workers_and_resume() -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_workers": 2, "timeout": LIMIT}
    loader = NoisyLabelLoader(Stream(), NOISE, 0, **options)
    labels, states = [], []
    for batch, _ in loader:
        labels += list(batch)
        states.append(loader.state_dict())
    assert all(by_position(label, i) for i, label in enumerate(labels))
    resumed = NoisyLabelLoader(Stream(), NOISE, 0, **options)
    resumed.load_state_dict(states[1])
    first, _ = next(iter(resumed))
    assert by_position(first[0], 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_replacement_is_keyed_by_position(workers: int) -> None:
    sampler = RandomSampler(Items(), replacement=True, num_samples=40)
    for one in (sampler, WeightedRandomSampler([1.0] * COUNT, 40)):
        loader = NoisyLabelLoader(
            Items(), NOISE, "label", sampler=one, batch_size=3, num_workers=workers
        )
        assert loader.by == "position"
        labels = [label for batch in loader for label in batch["label"]]
        assert all(by_position(label, i) for i, label in enumerate(labels))
    loader = NoisyLabelLoader(Items(), NOISE, "label", sampler=sampler, by="index")
    assert all(EPOCHS[0][index] == label for index, label in labels_of(loader))


ONCE, TWICE = [4, 0, 9], [4, 0, 4, 9]


@pytest.mark.parametrize(
    ("options", "by"),
    [
        ({}, "index"),
        ({"shuffle": True}, "index"),
        ({"sampler": RandomSampler(Items())}, "index"),
        ({"sampler": RandomSampler(Items(), num_samples=COUNT)}, "index"),
        ({"sampler": RandomSampler(Items(), num_samples=3 * COUNT + 1)}, "position"),
        ({"sampler": RandomSampler(Items(), replacement=True, num_samples=2)}, "position"),
        ({"sampler": WeightedRandomSampler([1.0] * COUNT, 9)}, "position"),
        ({"sampler": WeightedRandomSampler([1.0] * COUNT, 9, replacement=False)}, "index"),
        ({"sampler": SubsetRandomSampler(ONCE)}, "index"),
        ({"sampler": SubsetRandomSampler(TWICE)}, "position"),
        ({"sampler": SubsetRandomSampler(torch.tensor(ONCE))}, "index"),
        ({"sampler": SubsetRandomSampler(torch.tensor(TWICE))}, "position"),
        ({"sampler": DistributedSampler(Items(), 4, 0)}, "index"),
        ({"sampler": ONCE}, "index"),
        ({"sampler": TWICE}, "position"),
        ({"sampler": np.array(TWICE)}, "position"),
        ({"batch_sampler": [[4, 0], [9]]}, "index"),
        ({"batch_sampler": [[4, 0], [9, 4]]}, "position"),
        ({"batch_sampler": BatchSampler(SubsetRandomSampler(TWICE), 2, False)}, "position"),
    ],
)
def test_an_item_that_comes_twice_has_two_noises(options: dict[str, Any], by: str) -> None:
    for kind in (NoisyLabelLoader, Here):
        loader = kind(Items(), NOISE, "label", **options)
        assert loader.by == by
        found = labels_of(loader)
        assert len({label for _, label in found}) == len(found)
    loader = NoisyLabelLoader(Items(), NOISE, "label", **options, by="index")
    assert all(EPOCHS[0][index] == label for index, label in labels_of(loader))


def test_batch_samplers_and_generators() -> None:
    batches = [[3, 1], [0], [10, 9, 8]]
    loader = NoisyLabelLoader(Items(), NOISE, "label", batch_sampler=batches)
    found = labels_of(loader)
    assert [index for index, _ in found] == [3, 1, 0, 10, 9, 8]
    assert all(EPOCHS[0][index] == label for index, label in found)
    orders = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        loader = NoisyLabelLoader(Items(), NOISE, "label", shuffle=True, generator=generator)
        orders.append([labels_of(loader), labels_of(loader)])
    assert orders[0] == orders[1]


# ---------------------------------------------------------------------------------- samples


class Pair(NamedTuple):
    image: Any
    label: Any


@pytest.mark.parametrize(
    ("sample", "key", "clean"),
    [
        ({"x": 0, "label": LABEL}, "label", "clean"),
        (UserDict({"x": 0, "label": LABEL}), "label", "clean"),
        ((LABEL, 1), 0, 2),
        ([0, LABEL], 1, 2),
        (Pair(0, LABEL), 1, None),
        ({"x": 0, "label": LABEL[0]}, "label", None),
    ],
)
def test_labels_are_found_in_samples_of_any_kind(sample: Any, key: Any, clean: Any) -> None:
    dataset = NoisyLabels([sample], NOISE, key, clean_key=clean)
    found = dataset[0]
    assert type(found) is type(sample)
    assert digest(found[key]) == EPOCHS[0][0]
    assert len(found) == len(sample) + (clean is not None)
    if clean is not None:
        assert found[clean] is sample[key]
    assert int(sample[key].sum()) == 180  # the data set's own label is as it was
    NOISE.eval()
    try:
        assert torch.equal(dataset[0][key], sample[key])
    finally:
        NOISE.train()


def test_spacing_of_samples() -> None:
    noise = LabelNoise(2.0, 5.0, ndim=2)
    for spacing in ((2.0, 0.5), 2.0, torch.tensor([2.0, 0.5]), np.array([2.0, 0.5])):
        items = [{"label": LABEL, "spacing": spacing}] * 3
        field = GaussianField(2.0, 5.0, spacing=spacing, ndim=2)
        expected = field.sample_labels(LABEL, seed=[item_seed(0, 0, 2)], mode="nearest")
        for kind in (NoisyLabelLoader, Here):
            (batch,) = kind(items, noise, "label", spacing_key="spacing", batch_size=3)
            assert torch.equal(batch["label"][2], expected)


@pytest.mark.parametrize(
    "collated",
    [
        [(2.0, 0.5)] * 3,
        [2.0, 4.0, 1.0],
        np.array([[2.0, 0.5]] * 3),
        [torch.tensor([2.0, 0.5])] * 3,
        [torch.tensor(2.0)] * 3,
    ],
)
def test_spacings_as_a_collate_function_of_the_user_leaves_them(collated: Any) -> None:
    """A row per item, or a number, of plain numbers, tensors or an array."""
    noise = LabelNoise(2.0, 5.0, ndim=2)
    batch = {"label": torch.stack([LABEL] * 3), "mm": collated}
    change = Change(noise, "label", None, "mm")
    spacing = np.stack([np.asarray(one, float) for one in collated]).reshape(3, -1)
    found = change.batch(batch, [5, 6, 7], change.spacing(batch, 3))["label"]
    for i in range(3):
        own = GaussianField(2.0, 5.0, spacing=spacing[i], ndim=2)
        assert torch.equal(found[i], own.sample_labels(LABEL, seed=[5 + i], mode="nearest"))


@pytest.mark.parametrize(
    "collated",
    [
        *([(2.0, 0.5), (2.0,)], ["mm", "cm"], torch.ones(3), None, 4.0, "unit"),
        *(torch.ones(1, 2), torch.ones(4, 1), torch.ones(2, 3), [torch.ones(2), torch.ones(3)]),
    ],
)
def test_spacings_that_do_not_fit(collated: Any) -> None:
    change = Change(LabelNoise(2.0, 5.0, ndim=2), "label", None, "mm")
    with pytest.raises(
        ValueError, match=r"^a batch's 'mm' must hold voxel sizes of 2 items, .*got"
    ):
        change.spacing({"mm": collated}, 2)


def collate(samples: list[Any]) -> Any:
    return [sample["id"] for sample in samples], torch.stack([s["label"] for s in samples])


def test_collate_functions_of_the_user() -> None:
    for kind in (NoisyLabelLoader, Here):
        key = "label" if kind is NoisyLabelLoader else 1
        for indices, labels in kind(Items(), NOISE, key, batch_size=4, collate_fn=collate):
            assert [EPOCHS[0][i] for i in indices] == [digest(label) for label in labels]


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("sample", "options", "error", "match"),
    [
        ({"mask": LABEL}, {}, ValueError, r"^label_key must be one of .*\['mask'\], got 'label'"),
        ((LABEL, 1), {}, ValueError, "^label_key must be a position below 2, got 'label'"),
        ((LABEL, 1), {"label_key": 2}, ValueError, "^label_key must be a position below 2, got 2"),
        (LABEL, {}, TypeError, r"^samples must be dicts, tuples or lists, got torch\.Tensor"),
        ({"label": LABEL.numpy()}, {}, TypeError, r"'label' must be a torch tensor, got numpy\."),
        ({"label": 3}, {}, TypeError, r"'label' must be a torch tensor, got builtins\.int"),
        (
            {"label": LABEL.float()},
            {},
            TypeError,
            r"^a sample's 'label' .*uint8\)\), got .*\(1, 24, 26",
        ),
        ({"label": LABEL[0, 0]}, {}, ValueError, r"'label' .*\(C, \*space\) or .*got \(26,\)$"),
        (
            {"label": HOT},
            {},
            ValueError,
            r"^a sample's 'label' .*one-hot .*\(2, 24, 26\): use argmax\(0",
        ),
        (
            (0, HOT),
            {"label_key": 1},
            ValueError,
            r"^a sample's 1 must be integer-coded, got one-hot",
        ),
        ({"label": LABEL}, {"spacing_key": "mm"}, ValueError, "^spacing_key must be .*got 'mm'"),
        (
            {"label": LABEL},
            {"clean_key": "label"},
            ValueError,
            "^clean_key .* key, got 'label'",
        ),
        ({"x": 0, "label": LABEL}, {"clean_key": "x"}, ValueError, "^clean_key .*new.*'x', which"),
        ((LABEL, 1), {"label_key": 0, "clean_key": 5}, ValueError, "^clean_key must .*2, .*got 5"),
        (Pair(1, LABEL), {"label_key": 1, "clean_key": 2}, ValueError, "^clean_key .*for a Pair"),
    ],
)
def test_bad_samples_are_refused(
    sample: Any, options: dict[str, Any], error: Any, match: str
) -> None:
    with pytest.raises(error, match=match):
        NoisyLabels([sample], NOISE, **{"label_key": "label"} | options)[0]


def test_one_hot_labels_of_batches() -> None:
    """The user knows his samples: the text is theirs, and what it says is right for them."""
    items = [{"label": HOT}] * 3
    for kind in (NoisyLabelLoader, Here):
        with pytest.raises(
            ValueError, match=r"'label' .*shape \(2, 24, 26\): use argmax\(0, keepdim="
        ):
            next(iter(kind(items, NOISE, "label", batch_size=3)))
    coded = {"label": HOT.argmax(0, keepdim=True)}
    assert torch.equal(NoisyLabels([coded], NOISE, "label")[0]["label"], NOISED[0].long())


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"noise": torch.nn.Identity()}, TypeError, "^noise must be a LabelNoise, got Identity"),
        ({"seed": -1}, ValueError, "^seed must be .*got -1"),
        ({"seed": 2**63}, ValueError, r"^seed must be below 2\*\*63, got"),
        ({"batch_size": None}, ValueError, "^batch_size must be a number, got None"),
        ({"dataset": Stream(), "batch_size": None}, ValueError, "^batch_size must be a number"),
        ({"dataset": Stream(), "by": "index"}, ValueError, "^by must be 'position' for an iter"),
        ({"by": "rank"}, ValueError, "^by must be one of 'index', 'position', got 'rank'"),
        ({"device": "mps"}, ValueError, "^device must be of the CPU or of CUDA, got mps"),
        (
            {"device": "cuda:99"},
            ValueError,
            r"^device .* GPU .* there are \d+, got cuda:99: .*'cpu'",
        ),
        ({"shuffle": True, "sampler": [1]}, ValueError, "sampler option is mutually exclusive"),
        ({"batch_size": 2, "batch_sampler": [[1]]}, ValueError, "mutually exclusive"),
    ],
)
def test_bad_loaders_are_refused(given: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        NoisyLabelLoader(**{"dataset": Items(), "noise": NOISE, "label_key": "label"} | given)


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"^device must be a GPU .* there are 0, got cuda: install"
    ):
        NoisyLabelLoader(Items(), NOISE, "label", device="cuda")


def test_a_data_set_that_is_iterable_only() -> None:
    with pytest.raises(
        TypeError, match=r"^dataset must be map-style, got Stream: NoisyLabelLoader"
    ):
        NoisyLabels(Stream(), NOISE, 0)
    with pytest.raises(ValueError, match=r"^epoch .*got -1"):
        NoisyLabels(Items(), NOISE, "label").set_epoch(-1)
    with pytest.raises(IndexError):
        NoisyLabels(Items(), NOISE, "label")[COUNT]
