"""Lightning: a callback that makes the labels of training batches noisy."""

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..torch import LabelNoise, item_seed
from ..torch._samples import Change
from ..torch.item_seeds import seed_of
from ._common import draw_seed, missing

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise missing("Lightning", "lightning", error) from error

__all__ = ["GaussianFieldNoiseCallback"]

_ITEM_BITS = 16  # of an item's place in its batch; what is left of item_seed's 40 counts batches


class GaussianFieldNoiseCallback(Callback):
    """Make the labels of training batches noisy, where the batches are: on the GPU, if there.

    Parameters
    ----------
    noise : LabelNoise
        The noise.
    label_key : hashable
        The label's key in the batch or, in a list, its position from 0; a tensor (B, C, *space)
        or (B, *space).
    seed : int, optional
        Of the run, in [0, 2**63). By default that of `seed_everything` or, without one, drawn when
        training starts.
    clean_key : hashable, optional
        Where to keep the clean label: a new key or, in a list, the next position.
    spacing_key : hashable, optional
        The key of the voxel sizes of a batch, one row per item, in place of the noise's.

    Notes
    -----
    Batches of validation, test and prediction stay as they are. The noise of an item follows from
    (seed, epoch, batch, rank, place in the batch): a run that is resumed goes on with the noise it
    would have had, and its seed is in the checkpoint.

    To make it independent of batches and ranks too, use `gfnoise.torch.NoisyLabelLoader` as the
    loader instead: its epochs are Lightning's. With several ranks, make it in `train_dataloader`
    with ``sampler=DistributedSampler(dataset)``: Lightning gives one to torch's own loaders only.
    Without it each rank draws all items.

    Of an iterable data set without a ``__len__`` Lightning draws a batch before it tells the epoch:
    a run that is resumed behind an epoch then begins with the noise of epoch 0. A loader that is
    begun again beside a longer one has the noise of the next epoch, which then comes twice.

    Examples
    --------
    >>> from gfnoise.integrations.lightning import GaussianFieldNoiseCallback
    >>> from gfnoise.torch import LabelNoise
    >>> noise = LabelNoise(amplitude=(0.5, 2.0), length_scale=6.0, ndim=3)
    >>> callback = GaussianFieldNoiseCallback(noise, "label", seed=7)
    >>> callback.state_dict()
    {'seed': 7}
    """

    def __init__(
        self,
        noise: LabelNoise,
        label_key: Any,
        *,
        seed: int | None = None,
        clean_key: Any = None,
        spacing_key: Any = None,
    ):
        self._change = Change(noise, label_key, clean_key, spacing_key, "batch")
        if seed is not None:
            seed = seed_of("seed", seed)
        self.seed = seed

    @property
    def noise(self) -> LabelNoise:
        """The noise: in `eval()` it leaves labels clean."""
        return self._change.noise

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Choose the run's seed, unless it is given or restored."""
        self._chosen()

    def _chosen(self) -> int:
        if self.seed is None:
            given = os.environ.get("PL_GLOBAL_SEED")
            self.seed = draw_seed() if given is None else seed_of("PL_GLOBAL_SEED", int(given))
        return self.seed

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make the labels of a batch noisy, in the batch."""
        if not isinstance(batch, MutableMapping | list):
            raise TypeError(
                f"batch must be a dict or a list, whose label can be replaced, got "
                f"{type(batch).__qualname__}"
            )
        label = self._change.label(batch)
        count = len(label) if label.dim() else 0
        seed = self._chosen()
        first = (batch_idx * trainer.world_size + trainer.global_rank) << _ITEM_BITS
        seeds = [item_seed(seed, trainer.current_epoch, first + i) for i in range(count)]
        made = self._change.noisy(label, seeds, self._change.spacing(batch, count))
        if self._change.clean_key is not None and isinstance(batch, list):
            batch.append(label)
        elif self._change.clean_key is not None:
            batch[self._change.clean_key] = label
        batch[self._change.label_key] = made

    def state_dict(self) -> dict[str, Any]:
        """The run's seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the seed of a run that was stopped."""
        if state_dict["seed"] is not None:
            self.seed = seed_of("seed", state_dict["seed"])
