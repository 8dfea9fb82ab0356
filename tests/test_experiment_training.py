"""The experiment: networks, training that resumes, ranks, and the scores of a tiny run."""

from __future__ import annotations

import dataclasses
import errno
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limits import LIMIT

torch = pytest.importorskip("torch")

import evaluation  # noqa: E402
import experiment  # noqa: E402
import gfnoise  # noqa: E402
import networks  # noqa: E402
import training  # noqa: E402
from experiment import TINY  # noqa: E402
from gfnoise.torch import item_seed  # noqa: E402
from phantoms import Phantoms  # noqa: E402
from training import Place  # noqa: E402

SCRIPT = Path(experiment.__file__)
HERE = Place(torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread():
    """For a few voxels, threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cases():
    return list(Phantoms("esophagus", 4, 16, (5,)))


# Networks


def test_counts_of_parameters():
    """LUnet has over 30 times fewer, the narrowed U-Net as many."""
    full, lean = map(networks.parameters, (networks.UNET, networks.LUNET))
    assert full == sum(one.numel() for one in networks.UNet(networks.UNET).parameters())
    assert full > 30 * lean
    narrow = networks.narrowed(lean)
    assert all(abs(b - 2 * a) <= 1 for a, b in itertools.pairwise(narrow))
    assert networks.parameters(narrow) == pytest.approx(lean, rel=0.02)


def test_the_counts_are_printed(capsys):
    networks.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["U-Net", "LUnet", "narrow U-Net"]


@pytest.mark.parametrize("channels", [(3,), (2, 4, 8), (2, 2, 2)])
def test_networks_keep_the_shape(channels):
    image = torch.randn(2, 1, 8, 16, 8)
    assert networks.UNet(channels)(image).shape == image.shape


def test_bad_networks_are_refused():
    with pytest.raises(ValueError, match=r"channels must be positive integers.* got \(\)"):
        networks.UNet(())
    with pytest.raises(ValueError, match=r"3 levels takes sides that are multiples of 4, 8 at le"):
        networks.UNet((1, 1, 1))(torch.zeros(1, 1, 8, 8, 6))


# Losses


@pytest.mark.parametrize("loss", training.LOSSES)
@pytest.mark.parametrize("head", networks.HEADS)
def test_losses_fall_and_are_finite(loss, head):
    torch.manual_seed(0)
    logits = torch.rand(1, 1, 6, 6, 6, requires_grad=True)  # negative ones have no ReLU
    target = (torch.rand(1, 1, 6, 6, 6) > 0.8).float()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    found = []
    for _ in range(60):
        value = training.LOSSES[loss](logits, target, head)
        optimizer.zero_grad()
        value.backward()
        assert torch.isfinite(logits.grad).all()
        optimizer.step()
        found.append(value.item())
    assert found[-1] < 0.7 * found[0]


def test_cross_entropy_is_the_same_under_both_heads():
    p, target = torch.tensor([[0.2, 0.5, 1.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    relu = training.cross_entropy(p, target, "normrelu")
    plain = -torch.log(torch.tensor([0.8, 0.5, 1.0])).mean()
    torch.testing.assert_close(relu, plain, atol=1e-5, rtol=0)


# Training


def histories(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run["history"]]


def trained(settings, cases, folder):
    model = training.train(settings, cases, folder, HERE)
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {name: one.numpy() for name, one in model.state_dict().items()}, state


def test_a_resumed_run_is_the_run(cases, tmp_path):
    settings = dataclasses.replace(TINY, epochs=3, augment=0.5, fresh=True)
    whole, state = trained(settings, cases, tmp_path / "whole")

    run = training.Run(settings, cases, HERE)
    with training.tqdm(disable=True) as bar:
        run.epoch(bar)
    training.write(tmp_path / "cut" / "checkpoint.pt", lambda file: torch.save(run.state(), file))
    resumed, again = trained(settings, cases, tmp_path / "cut")
    assert histories(state) == histories(again)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    log = (tmp_path / "cut" / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,loss,dice,rate,seconds"
    assert [line.split(",")[0] for line in log[1:]] == ["0", "1", "2"]


def test_a_checkpoint_of_other_settings_is_refused(cases, tmp_path):
    trained(TINY, cases, tmp_path)
    with pytest.raises(ValueError, match="the checkpoint is one of other settings"):
        training.train(dataclasses.replace(TINY, rate=1e-3), cases, tmp_path, HERE)


def test_a_full_disk_keeps_what_was_there(tmp_path):
    path = tmp_path / "checkpoint.pt"
    training.write(path, lambda file: file.write(b"first"))

    def full(file):
        file.write(b"sec")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        training.write(path, full)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("select", "kept"), [("last", 3), ("loss", None), ("dice", None)])
def test_which_epoch_is_kept(cases, tmp_path, select, kept):
    settings = dataclasses.replace(TINY, epochs=4, select=select)
    _, state = trained(settings, cases, tmp_path)
    rows = state["history"]
    best = {
        "last": 3,
        "loss": min(range(4), key=lambda epoch: rows[epoch]["loss"]),
        "dice": max(range(4), key=lambda epoch: rows[epoch]["dice"]),
    }[select]
    assert state["best"]["epoch"] == best
    assert kept in (None, best)


def test_the_rate_falls_after_epochs_without_improvement(cases):
    settings = dataclasses.replace(TINY, patience=2, rate=0.1)
    run = training.Run(settings, cases, HERE)
    rates = []
    for loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        run.schedule.step(loss)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.02, 0.02])


def test_workers_and_bfloat16(cases, tmp_path):
    """Workers change nothing; bfloat16 little."""
    settings = dataclasses.replace(TINY, epochs=2, fresh=True)
    _, alone = trained(settings, cases, tmp_path / "alone")
    training.train(settings, cases, tmp_path / "two", dataclasses.replace(HERE, workers=2))
    two = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    assert histories(alone) == histories(two)
    _, half = trained(dataclasses.replace(settings, amp=True), cases, tmp_path / "half")
    losses = [[row["loss"] for row in run["history"]] for run in (alone, half)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.02)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("fresh", "augment"), [(True, 0.0), (False, 1.0), (False, 0.0)])
def test_epochs_differ_in_what_is_fresh(cases, workers, fresh, augment):
    """A network that does not move sees other samples, or the same."""
    settings = dataclasses.replace(TINY, rate=0.0, fresh=fresh, augment=augment)
    run = training.Run(settings, cases, dataclasses.replace(HERE, workers=workers))
    with training.tqdm(disable=True) as bar:
        for _ in range(2):
            run.epoch(bar)
    first, second = (row["loss"] for row in run.history)
    assert (first == pytest.approx(second, rel=1e-6)) == (not fresh and not augment)


def test_a_loss_that_is_nan_stops(cases, tmp_path):
    settings = dataclasses.replace(TINY, rate=1e30)
    with pytest.raises(FloatingPointError, match=r"the loss of epoch \d is NaN"):
        training.train(settings, cases, tmp_path, HERE)


# Scores


class Known(torch.nn.Module):
    """A network that answers with the logits of the marginal."""

    def __init__(self, marginals):
        super().__init__()
        self.marginals = iter(marginals)

    def forward(self, image):
        return torch.logit(torch.from_numpy(next(self.marginals)), 1e-7)[None, None]


def test_scores_of_a_network_that_knows_the_marginal():
    cases = list(Phantoms("esophagus", 3, 32))
    marginals = [evaluation.targets.marginal(case, TINY) for case in cases]
    result = evaluation.evaluate(Known(marginals), TINY, cases, HERE)
    scores = {name: np.array(values) for name, values in result["scores"].items()}
    for against in ("noisy", "clean", "marginal"):
        for how in ("half", "optimal"):
            expected = scores[f"theory_{how}_{against}"]
            np.testing.assert_allclose(scores[f"{how}_{against}"], expected, atol=1e-3)
    assert (scores["theory_optimal_marginal"] >= scores["theory_half_marginal"]).all()
    np.testing.assert_allclose(2 * scores["threshold"], scores["optimal_marginal"], atol=1e-3)
    assert scores["brier"].max() < 1e-6
    np.testing.assert_allclose(scores["brier_noisy"], scores["brier_noise"], rtol=0.5)
    noise = gfnoise.GaussianField(0.03, evaluation.targets.LENGTH_SCALE, spacing="unit", ndim=3)
    seed = item_seed(TINY.stream("test labels"), 0, 1)
    label = noise.sample_labels(cases[1].label, seed=[seed])
    mask = marginals[1] >= 0.5
    expected = 2 * (mask & (label == 1)).sum() / (mask.sum() + label.sum())
    assert scores["half_noisy"][1] == pytest.approx(expected, abs=1e-3)


def test_reliability_counts_voxels():
    found = np.array([0.0, 0.04, 0.06, 0.5, 1.0], np.float32)
    marginal = np.array([0.0, 0.1, 0.2, 0.5, 0.9], np.float32)
    raters = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], np.uint8)
    bins = evaluation.reliability(found, marginal, raters)
    assert bins[0].tolist() == [2, 1] + [0] * 8 + [1] + [0] * 8 + [1]
    np.testing.assert_allclose(bins[2][[0, 1, 10, 19]], [0.1, 0.2, 0.5, 0.9], rtol=1e-6)
    np.testing.assert_allclose(bins[3][[0, 1, 10, 19]], [0, 0.5, 0.5, 1])


# The command


def test_a_tiny_experiment_resumes(tmp_path, capsys, monkeypatch):
    arguments = [str(tmp_path), "--preset", "tiny", "--only-folds", "1"]
    monkeypatch.setattr(experiment, "train", stop_at_third(experiment.train))
    with pytest.raises(KeyboardInterrupt):
        experiment.main(arguments)
    done = sorted(tmp_path.glob("*/result.json"))
    assert len(done) == 2
    times = [path.stat().st_mtime_ns for path in done]
    monkeypatch.undo()
    capsys.readouterr()
    assert experiment.main(arguments) == 0
    assert "4 networks: 2 done, 2 to do here" in capsys.readouterr().out
    results = sorted(tmp_path.glob("*/result.json"))
    assert len(results) == 4
    assert [path.stat().st_mtime_ns for path in done] == times
    assert not list(tmp_path.glob("*/checkpoint.pt"))
    raw = json.loads(results[0].read_text())
    assert raw["settings"]["fold"] == 1
    assert len(raw["history"]) == TINY.epochs
    assert len(raw["cases"]) == TINY.test
    assert raw["machine"]["torch"] == torch.__version__


def stop_at_third(train):
    count = itertools.count()

    def stopping(*arguments):
        if next(count) == 2:
            raise KeyboardInterrupt
        return train(*arguments)

    return stopping


def test_shares_are_a_partition(tmp_path):
    parser = experiment.make_parser()
    runs = experiment.plan(parser.parse_args([str(tmp_path), "--preset", "cpu"]))
    assert len(runs) == 20  # 5 folds, 2 noise levels, 2 losses
    assert len({run.name for run in runs}) == 20
    parts = [[r for r in runs if experiment.mine_of((k, 3), r, runs)] for k in (1, 2, 3)]
    assert sorted(r.name for part in parts for r in part) == sorted(r.name for r in runs)


def test_the_papers_plan(tmp_path):
    parser = experiment.make_parser()
    runs = experiment.plan(parser.parse_args([str(tmp_path)]))
    assert len(runs) == 120  # 5 folds, 3 organs, 4 noise levels, 2 losses
    one = runs[0]
    assert (one.size, one.epochs, one.batch_size, one.rate, one.decay) == (64, 100, 1, 1e-4, 1e-5)
    assert (one.channels, one.patience, one.augment) == ((16, 32, 64, 128, 256), 30, 0.5)
    assert not one.fresh


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "totalsegmentator"], "--root must name the folder of totalsegmentator"),
        (["--data", "raters", "--root", "nowhere"], "error: no folder nowhere"),
        (["--organs", "liver"], "organ must be one of kidney, aorta, esophagus, got 'liver'"),
        (["--size", "20", "--channels", "1,1,1,1"], "takes sides that are multiples of 8"),
        (["--only-folds", "7"], "fold must be in [0, 1], got 7"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, capsys, arguments, message):
    assert experiment.main([str(tmp_path / "runs"), "--preset", "tiny", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss", "ce,mse"], "expected some of ce, soft-dice, adaptive-wing, got 'mse'"),
        (["--noise", "0,high"], "expected floats, got '0,high'"),
        (["--share", "3/2"], "expected K/N with 1 <= K <= N, got '3/2'"),
    ],
)
def test_bad_lists_are_refused(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        experiment.main([str(tmp_path), *arguments])
    assert message in capsys.readouterr().err


def test_two_ranks_train_one_network(tmp_path):
    """torchrun trains one network on both, and one of them writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), str(tmp_path), "--preset", "tiny"]
    command += ["--only-folds", "0", "--noise", "0.03", "--loss", "ce", "--keep"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("*/result.json")
    raw = json.loads(result.read_text())
    assert raw["machine"]["ranks"] == 2
    assert len(raw["history"]) == TINY.epochs
    state = torch.load(result.with_name("checkpoint.pt"), weights_only=True)
    steps = {int(one["step"]) for one in state["optimizer"]["state"].values()}
    assert steps == {TINY.epochs * TINY.train // (2 * TINY.batch_size)}


def test_checkpoints_hold_plain_data(cases):
    """They load without running code."""
    file = io.BytesIO()
    torch.save(training.Run(TINY, cases, HERE).state(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["history"] == []
