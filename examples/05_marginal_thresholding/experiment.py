r"""Train and score the networks of an experiment, one after the other; what is done stays done.

    python examples/05_marginal_thresholding/experiment.py runs/cpu --preset cpu
    python examples/05_marginal_thresholding/experiment.py runs/phantoms --device cuda --amp
    python examples/05_marginal_thresholding/experiment.py runs/paper --device cuda \
        --data totalsegmentator --root Totalsegmentator_dataset --skip-bad-cases
    torchrun --nproc-per-node 4 examples/05_marginal_thresholding/experiment.py runs/four ...

The plan is every organ, noise, loss, kind of target and fold that is asked for. Each network has a
folder of its own with `log.csv`, `checkpoint.pt` while it trains, and `result.json` once it is
scored. Stopped, the same command goes on. `--share K/N` takes every N-th network, for several
processes or machines on one plan. `make_report.py` makes tables and pictures of the results.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed

import folders
from evaluation import evaluate, save
from networks import HEADS
from phantoms import ORGANS, Case, Phantoms
from settings import CPU, DATA, LOSSES, SELECT, TARGETS, Settings
from training import Place, joined, train

NOISE = (0.0, 0.01, 0.02, 0.03)
TINY = Settings(
    noise=0.03,
    size=16,
    train=4,
    test=2,
    folds=2,
    channels=(2, 4),
    epochs=2,
    batch_size=2,
    rate=0.01,
)
PRESETS = {"paper": Settings(), "cpu": CPU, "tiny": TINY}
PLANS: dict[str, dict[str, Any]] = {
    "paper": {"organs": ORGANS, "noise": NOISE},
    "cpu": {"organs": ("esophagus",), "noise": (0.0, 0.03)},
    "tiny": {"organs": ("esophagus",), "noise": (0.0, 0.03)},
}
OF_DATA: dict[str | None, dict[str, Any]] = {
    "totalsegmentator": {"organ": ("kidney_right", "aorta", "esophagus")},
    "raters": {"organ": ("raters",), "noise": (0.0,)},
}
READERS = {"totalsegmentator": folders.read_totalsegmentator, "raters": folders.read_raters}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; the exit status is 0, or 2 for a bad argument or bad data."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        runs = plan(args)
        todo = [run for run in runs if not result_path(args.runs, run).exists()]
        mine = todo if args.share is None else [r for r in todo if mine_of(args.share, r, runs)]
        with joined(args.device, args.workers) as place:
            if place.first:
                print(f"{len(runs)} networks: {len(runs) - len(todo)} done, {len(mine)} to do here")
            for run in mine:
                work(run, args, place)
    except (folders.BadCase, FloatingPointError, OSError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def plan(args: argparse.Namespace) -> list[Settings]:
    """The networks to train: folds outermost, so that what is done is a whole table early."""
    preset, fixed = PRESETS[args.preset], PLANS[args.preset]
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    axes = {"organ": fixed["organs"], "noise": fixed["noise"]} | OF_DATA.get(args.data, {})
    for name, values in (("organ", args.organs), ("noise", args.noise)):
        if values is not None:
            axes[name] = values
    parts = range(given.get("folds", preset.folds)) if args.only_folds is None else args.only_folds
    return [
        dataclasses.replace(
            preset, **given, fold=fold, organ=organ, noise=noise, targets=kind, loss=loss
        )
        for fold, organ, noise, kind, loss in itertools.product(
            parts, axes["organ"], axes["noise"], args.targets, args.losses
        )
    ]


def work(settings: Settings, args: argparse.Namespace, place: Place) -> None:
    r"""Train and score one network."""
    trained, unseen = cases_of(settings, args)
    folder = args.runs / settings.name
    network = train(settings, trained, folder, place)
    if place.first:
        result = evaluate(network, settings, unseen, place)
        checkpoint = folder / "checkpoint.pt"
        history = torch.load(checkpoint, map_location="cpu", weights_only=True)["history"]
        save(
            result_path(args.runs, settings),
            settings,
            result | {"machine": machine(place)},
            history,
        )
        if not args.keep:
            checkpoint.unlink()
    if place.ranks > 1:
        torch.distributed.barrier()


_LOADED: dict[tuple[Any, ...], list[Case]] = {}


def cases_of(settings: Settings, args: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """The cases to train and to test on; those of the last data set are kept."""
    if settings.data == "phantoms":
        key: tuple[Any, ...] = (settings.organ, settings.size, settings.stream("data"))
        counts = settings.train, settings.test

        def make() -> list[Case]:
            organ, size, seed = key
            return [
                case
                for part, count in enumerate(counts)
                for case in Phantoms(organ, count, size, (seed, part))
            ]

        cases = _kept((*key, counts), make)
        return cases[: settings.train], cases[settings.train :]
    if args.root is None:
        raise ValueError(f"--root must name the folder of {settings.data}")
    wanted = settings.folds * settings.test
    cases = _kept(
        (settings.data, settings.organ, settings.size, wanted),
        lambda: folders.load_folder(
            args.root,
            READERS[settings.data],
            settings.organ,
            settings.size,
            most=wanted,
            skip=args.skip_bad_cases,
            cache=args.cache or args.runs / "patches",
        ),
    )
    parts = folders.folds(len(cases), settings.folds, settings.test, settings.fold, settings.seed)
    trained, unseen = ([cases[index] for index in part] for part in parts)
    return trained, unseen


def _kept(key: tuple[Any, ...], make: Callable[[], list[Case]]) -> list[Case]:
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = make()
    return _LOADED[key]


def mine_of(share: tuple[int, int], run: Settings, runs: Sequence[Settings]) -> bool:
    """Whether a network of the plan is of a share; that does not depend on what is done."""
    part, parts = share
    return runs.index(run) % parts == part - 1


def result_path(root: Path, settings: Settings) -> Path:
    """Where a network's result is."""
    return root / settings.name / "result.json"


def machine(place: Place) -> dict[str, Any]:
    """What computed."""
    if place.device.type == "cuda":
        device = torch.cuda.get_device_name(place.device)
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        device = names[0] if names else platform.processor()
    return {
        "device": device,
        "system": platform.system(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ranks": place.ranks,
    }


# Arguments


def listed(kind: Callable[[str], Any], choices: Sequence[Any] | None = None) -> Callable[..., Any]:
    """A reader of comma-separated values for argparse."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {kind.__name__}s, got {text!r}") from None
        for value in values:
            if choices is not None and value not in choices:
                allowed = ", ".join(map(str, choices))
                raise argparse.ArgumentTypeError(f"expected some of {allowed}, got {value!r}")
        return values

    return read


def share(text: str) -> tuple[int, int]:
    """K/N."""
    try:
        part, parts = map(int, text.split("/"))
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"expected K/N with 1 <= K <= N, got {text!r}")
    return part, parts


OPTIONS: dict[str, dict[str, Any]] = {  # those of Settings, as options of one network
    "data": {"choices": DATA},
    "head": {"choices": HEADS},
    "fresh": {"action": "store_const", "const": True, "help": "new noise in each epoch"},
    "raters": {"type": int, "help": "simulated raters, for targets made of several"},
    "alpha": {"type": float, "help": "of label smoothing"},
    "size": {"type": int, "help": "voxels a side"},
    "train": {"type": int, "help": "phantoms to train on, per fold"},
    "test": {"type": int, "help": "cases to test on, per fold"},
    "folds": {"type": int},
    "channels": {"type": listed(int), "help": "of each level; 16,16,16,16,16 is LUnet"},
    "epochs": {"type": int},
    "batch_size": {"type": int},
    "rate": {"type": float, "help": "Adam's"},
    "decay": {"type": float, "help": "weight of l2"},
    "patience": {"type": int, "help": "epochs without improvement before the rate is divided by 5"},
    "augment": {"type": float, "help": "probability"},
    "select": {"choices": SELECT, "help": "which epoch's network is kept, by the training data"},
    "amp": {"action": "store_const", "const": True, "help": "bfloat16 where it is safe"},
    "seed": {"type": int},
}


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder for the networks' folders")
    plan = parser.add_argument_group("the plan: lists, separated by commas")
    plan.add_argument("--preset", choices=PRESETS, default="paper", help="(default: %(default)s)")
    plan.add_argument("--organs", type=listed(str), help="phantoms, or label files without .nii.gz")
    plan.add_argument("--noise", type=listed(float), help="amplitudes, of the cube's side")
    plan.add_argument("--loss", dest="losses", type=listed(str, LOSSES), default=LOSSES[:2])
    plan.add_argument("--targets", type=listed(str, TARGETS), default=("noisy",))
    plan.add_argument("--only-folds", type=listed(int), help="numbers, from 0")
    one = parser.add_argument_group("each network (the preset's, unless given)")
    for name, how in OPTIONS.items():
        one.add_argument(f"--{name.replace('_', '-')}", default=None, **how)
    data = parser.add_argument_group("data in folders")
    data.add_argument("--root", type=Path, help="the data set's folder, one folder per case")
    data.add_argument("--skip-bad-cases", action="store_true", help="name them and go on")
    data.add_argument("--cache", type=Path, help="where to keep patches (default: RUNS/patches)")
    how = parser.add_argument_group("where")
    how.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    how.add_argument("--workers", type=int, default=0, help="that load data")
    how.add_argument("--share", type=share, metavar="K/N", help="every N-th network, from the K-th")
    how.add_argument("--keep", action="store_true", help="keep the checkpoints of what is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
