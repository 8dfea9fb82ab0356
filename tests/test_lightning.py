"""The Lightning adapter, in Lightning's own loop."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning")

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the host's imports
    import lightning.pytorch as pl

from gfnoise.integrations.lightning import GaussianFieldNoiseCallback
from gfnoise.torch import LabelNoise, NoisyLabelLoader, item_seed
from limits import LIMIT

pytestmark = pytest.mark.filterwarnings("ignore")  # of the host: workers, loggers, versions
ROOT = Path(__file__).parents[1]
ITEMS, BATCH = 6, 2
OWN = object()  # in place of loaders: the model has them


def make() -> Tensor:
    label = torch.zeros(1, 16, 16, dtype=torch.uint8)
    label[:, 4:12, 4:12] = 2
    return label


def loader(workers: int = 0) -> Any:
    images = torch.rand(ITEMS, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    items = [{"image": image, "label": make(), "spacing": torch.ones(2)} for image in images]
    return DataLoader(items, batch_size=BATCH, num_workers=workers)


def noise() -> LabelNoise:
    return LabelNoise((1.0, 3.0), 5.0, ndim=2)


class Model(pl.LightningModule):
    """Records the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 1)
        self.seen: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        label = batch["label"] if isinstance(batch, dict) else batch[1]
        image = batch["image"] if isinstance(batch, dict) else batch[0]
        self.seen.append(
            {key: one.clone() for key, one in batch.items() if isinstance(one, Tensor)}
            if isinstance(batch, dict)
            else {"label": label.clone()}
        )
        return torch.nn.functional.mse_loss(self.layer(image), label.float())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(
    tmp_path: Path,
    callback: Any,
    epochs: int = 2,
    data: Any = None,
    model: Model | None = None,
    **options: Any,
) -> tuple[Model, Any]:
    model = model or Model()
    path = options.pop("ckpt_path", None)
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=callback,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **{"enable_checkpointing": False, **options},
    )
    given = () if data is OWN else (loader() if data is None else data, loader())
    trainer.fit(model, *given, ckpt_path=path)
    return model, trainer


def labels(model: Model) -> list[bytes]:
    return [one.numpy().tobytes() for batch in model.seen for one in batch["label"]]


@pytest.fixture(autouse=True)
def no_global_seed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)


def test_training_labels_alone_change(tmp_path: Path) -> None:
    callback = GaussianFieldNoiseCallback(noise(), "label", seed=3, clean_key="clean")
    model, _ = fit(tmp_path, callback)
    images = torch.cat([one["image"] for one in loader()])
    assert len(model.seen) == 2 * ITEMS // BATCH
    for i, batch in enumerate(model.seen):
        first = BATCH * (i % (ITEMS // BATCH))
        assert torch.equal(batch["image"], images[first : first + BATCH])
        assert torch.equal(batch["clean"], torch.stack([make()] * BATCH))
        assert batch["label"].dtype == torch.uint8
        assert set(batch["label"].unique().tolist()) == {0, 2}
    assert len(set(labels(model))) == 2 * ITEMS  # fresh for each item, in each epoch
    for batch in model.validated:
        assert torch.equal(batch["label"], torch.stack([make()] * BATCH))
        assert "clean" not in batch


def test_the_noise_is_that_of_epoch_batch_and_place(tmp_path: Path) -> None:
    model, _ = fit(tmp_path, GaussianFieldNoiseCallback(noise(), "label", seed=3))
    seeds = [item_seed(3, 1, (2 << 16) + i) for i in range(BATCH)]
    expected = noise()(torch.stack([make()] * BATCH), seed=seeds)
    assert torch.equal(model.seen[-1]["label"], expected)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 3}])
def test_reproducible_whatever_the_workers(tmp_path: Path, options: dict[str, Any]) -> None:
    runs = []
    for workers in (0, 2):
        pl.seed_everything(11, verbose=False)
        callback = GaussianFieldNoiseCallback(noise(), "label")
        model, _ = fit(tmp_path, callback, data=loader(workers), **options)
        assert callback.seed == 11
        runs.append(labels(model))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 2 * ITEMS
    pl.seed_everything(12, verbose=False)
    other, _ = fit(tmp_path, GaussianFieldNoiseCallback(noise(), "label"))
    assert not set(labels(other)) & set(runs[0])


def test_a_resumed_run_goes_on_with_its_noise(tmp_path: Path) -> None:
    """After an epoch and within one, with a seed that was drawn."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1, monitor=None
    )
    callback = GaussianFieldNoiseCallback(noise(), "label")
    whole, _ = fit(tmp_path, [callback, keep], epochs=3, enable_checkpointing=True)
    for steps in (3, 4):
        torch.manual_seed(1)  # must not matter
        again = GaussianFieldNoiseCallback(noise(), "label")
        rest, _ = fit(tmp_path, again, epochs=3, ckpt_path=tmp_path / f"step={steps}.ckpt")
        assert again.seed == callback.seed
        assert len(rest.seen) == 9 - steps
        assert labels(rest) == labels(whole)[BATCH * steps :]


def test_batches_of_pairs_and_spacings(tmp_path: Path) -> None:
    pairs = DataLoader([(torch.rand(1, 16, 16), make())] * ITEMS, batch_size=BATCH)
    model, _ = fit(tmp_path, GaussianFieldNoiseCallback(noise(), 1, seed=0), data=pairs)
    assert len(set(labels(model))) == 2 * ITEMS
    callback = GaussianFieldNoiseCallback(noise(), "label", seed=0, spacing_key="spacing")
    model, _ = fit(tmp_path, callback)
    again, _ = fit(tmp_path, GaussianFieldNoiseCallback(noise(), "label", seed=0))
    assert labels(model) == labels(again)  # spacings of 1


@pytest.mark.parametrize(
    "sizes", [(1.0, 4.0), torch.tensor([1.0, 4.0]), 4.0], ids=["numbers", "tensor", "number"]
)
@pytest.mark.parametrize("batch_size", [2, 3])
def test_voxel_sizes_as_a_loader_leaves_them(tmp_path: Path, sizes: Any, batch_size: int) -> None:
    """Of tuples it makes a tensor per axis: of two items in 2D that looks like a row per item."""
    item = {"image": torch.rand(1, 16, 16), "label": make(), "spacing": sizes}
    data = DataLoader([item] * batch_size, batch_size=batch_size)
    callback = GaussianFieldNoiseCallback(noise(), "label", seed=3, spacing_key="spacing")
    model, _ = fit(tmp_path, callback, data=data, epochs=1)
    own = LabelNoise((1.0, 3.0), 5.0, ndim=2, spacing=sizes)
    seeds = [item_seed(3, 0, i) for i in range(batch_size)]
    expected = own(torch.stack([make()] * batch_size), seed=seeds)
    assert torch.equal(model.seen[0]["label"], expected)


def test_a_batch_is_written_where_its_label_is_and_nowhere_else(tmp_path: Path) -> None:
    class Guarded(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            assert key in ("label", "clean")
            super().__setitem__(key, value)

    batch = Guarded(image=torch.rand(2, 1, 16, 16), label=torch.stack([make()] * 2))
    callback = GaussianFieldNoiseCallback(noise(), "label", seed=0, clean_key="clean")
    trainer = types.SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    callback.on_train_batch_start(trainer, None, batch, 0)
    assert set(batch) == {"image", "label", "clean"}
    assert not torch.equal(batch["label"], batch["clean"])
    callback.noise.eval()
    clean = Guarded(label=batch["label"])
    GaussianFieldNoiseCallback(callback.noise, "label", seed=0).on_train_batch_start(
        trainer, None, clean, 0
    )
    assert clean["label"] is batch["label"]


def test_a_seed_is_drawn_where_nobody_tells_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the same in each run."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    trainer = types.SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    seeds = set()
    for _ in range(2):
        callback = GaussianFieldNoiseCallback(noise(), "label")
        callback.on_train_batch_start(trainer, None, {"label": make()[None]}, 0)
        seeds.add(callback.state_dict()["seed"])
    assert len(seeds) == 2
    assert None not in seeds


def test_the_clean_label_of_a_pair(tmp_path: Path) -> None:
    data = DataLoader([(torch.rand(1, 16, 16), make())] * 2, batch_size=2)
    kept: list[Any] = []

    class Keeping(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            kept.extend(batch)
            return super().training_step(batch, batch_idx)

    callback = GaussianFieldNoiseCallback(noise(), 1, seed=0, clean_key=2)
    fit(tmp_path, callback, data=data, epochs=1, model=Keeping())
    assert len(kept) == 3
    assert torch.equal(kept[2], torch.stack([make()] * 2))
    assert not torch.equal(kept[1], kept[2])


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="noise must be a LabelNoise, got float"):
        GaussianFieldNoiseCallback(2.0, "label")
    with pytest.raises(ValueError, match=r"^seed must be below 2\*\*63, got"):
        GaussianFieldNoiseCallback(noise(), "label", seed=1 << 63)
    with pytest.raises(ValueError, match=r"^seed must be below 2\*\*63, got"):
        GaussianFieldNoiseCallback(noise(), "label").load_state_dict({"seed": 1 << 63})
    with pytest.raises(ValueError, match=r"^label_key must be one of .*'label'.*got 'lable'"):
        fit(tmp_path, GaussianFieldNoiseCallback(noise(), "lable", seed=0))
    tuples = DataLoader([make()] * 2, batch_size=2, collate_fn=lambda items: tuple(items))
    with pytest.raises(TypeError, match=r"batch must be a dict or a list.*got tuple"):
        fit(tmp_path, GaussianFieldNoiseCallback(noise(), 0, seed=0), data=tuples)
    pairs = DataLoader([(torch.rand(1, 16, 16), make())] * 2, batch_size=2)
    data = DataLoader([{"label": "none"}] * 2, batch_size=2)
    with pytest.raises(TypeError, match=r"'label' must be a torch tensor, got builtins\.list"):
        fit(tmp_path, GaussianFieldNoiseCallback(noise(), "label", seed=0), data=data)
    with pytest.raises(ValueError, match=r"clean_key must be the next position, 2, .* got 0"):
        fit(tmp_path, GaussianFieldNoiseCallback(noise(), 1, seed=0, clean_key=0), data=pairs)
    with pytest.raises(ValueError, match="clean_key must be a new key, got 'image', which"):
        fit(tmp_path, GaussianFieldNoiseCallback(noise(), "label", seed=0, clean_key="image"))


RANKS = """
import pickle, sys
from pathlib import Path
import lightning.pytorch as pl
from torch.utils.data import DistributedSampler
from test_lightning import GaussianFieldNoiseCallback, Model, labels, loader, noise, noisy

class Saving(Model):
    def on_train_end(self):
        Path(sys.argv[1], str(self.trainer.global_rank)).write_bytes(pickle.dumps(labels(self)))

class Loading(Saving):
    def train_dataloader(self):
        return noisy(shuffle=None, sampler=DistributedSampler(loader().dataset))

if __name__ == "__main__":
    callback = GaussianFieldNoiseCallback(noise(), "label", seed=5)
    callbacks, model, data = {
        "callback": ([callback], Saving(), [loader()]),
        "loader": ([], Loading(), []),
    }[sys.argv[2]]
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp_fork", logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=callbacks,
    )
    trainer.fit(model, *data)
"""


def of_two_ranks(tmp_path: Path, kind: str) -> list[list[bytes]]:
    """The labels that each rank has seen."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), kind],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return [pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in (0, 1)]


def test_two_ranks_share_the_items(tmp_path: Path) -> None:
    """Different noise on each rank."""
    drawn = [label for rank in of_two_ranks(tmp_path, "callback") for label in rank]
    assert len(drawn) == len(set(drawn)) == 2 * ITEMS


# ---------------------------------------------------------------------- NoisyLabelLoader


def noisy(**options: Any) -> NoisyLabelLoader:
    own = {"seed": 3, "batch_size": BATCH, "shuffle": True} | options
    return NoisyLabelLoader(loader().dataset, noise(), "label", **own)


def of_epochs(epochs: int, count: int = ITEMS, data: Any = None) -> list[bytes]:
    """What a loop without Lightning draws: the first labels of each epoch."""
    drawn, data = [], data or noisy()
    for _ in range(epochs):
        drawn += [one.numpy().tobytes() for batch in data for one in batch["label"]][:count]
    return drawn


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, ITEMS),
        ({"reload_dataloaders_every_n_epochs": 1}, ITEMS),
        ({"limit_train_batches": 2}, 2 * BATCH),
        ({"overfit_batches": 2}, 2 * BATCH),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_has_the_epochs_of_the_run(
    tmp_path: Path, options: dict[str, Any], count: int, workers: int
) -> None:
    class Loading(Model):
        def train_dataloader(self) -> Any:
            return noisy(num_workers=workers)

        def val_dataloader(self) -> Any:
            return noisy()

    model, _ = fit(tmp_path, None, epochs=3, model=Loading(), data=OWN, **options)
    assert labels(model) == of_epochs(3, count)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes(tmp_path: Path, workers: int) -> None:
    """After an epoch and within one: in its epochs, with the items that are left."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    each: dict[str, Any] = {"dirpath": tmp_path, "save_top_k": -1, "monitor": None}
    keep = [
        ModelCheckpoint(filename="{step}", every_n_train_steps=1, **each),
        ModelCheckpoint(filename="{epoch}", **each),
        ModelCheckpoint(filename="val {epoch}", save_on_train_epoch_end=False, mode="max", **each),
    ]
    whole, _ = fit(tmp_path, keep, epochs=3, enable_checkpointing=True, data=noisy())
    assert labels(whole) == of_epochs(3)
    steps = {f"step={step}": step for step in (1, 2, 3, 4, 6, 8)}
    steps |= {f"{kind}epoch={epoch}": 3 * epoch + 3 for kind in ("", "val ") for epoch in (0, 1)}
    for name, step in steps.items():
        data = noisy(num_workers=workers)
        rest, _ = fit(tmp_path, None, epochs=3, data=data, ckpt_path=tmp_path / f"{name}.ckpt")
        assert labels(rest) == labels(whole)[BATCH * step :], name


def test_a_loader_on_two_ranks(tmp_path: Path) -> None:
    """They share the items out, by a sampler of the user that is told the epoch."""
    ranks = of_two_ranks(tmp_path, "loader")
    for rank, found in enumerate(ranks):
        sampler = DistributedSampler(range(ITEMS), 2, rank)
        assert found == of_epochs(2, data=noisy(shuffle=None, sampler=sampler))
    assert {*ranks[0], *ranks[1]} == {*of_epochs(2)}
