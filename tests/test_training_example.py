"""The training loop of the examples: alone, resumed, and on two ranks."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from limits import LIMIT

torch = pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[1] / "examples" / "02_training_loop.py"
SMALL = ["--size", "12", "--items", "4", "--features", "2"]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("training_loop", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a few voxels, threads cost more than they give
    yield module
    torch.set_num_threads(threads)
    del sys.modules[spec.name]


def losses(text: str) -> list[str]:
    return re.findall(r"^epoch (\d+: cross-entropy \d\.\d{4}), ", text, re.M)


def test_it_trains_and_resumes(script: Any, capsys: Any, tmp_path: Path) -> None:
    script.main([*SMALL, "--epochs", "3"])
    text = capsys.readouterr().out
    whole = losses(text)
    assert [line[0] for line in whole] == ["0", "1", "2"]
    assert re.search(r"^network against E\[L\] on 8 new images: 0\.\d{4} mean absolute", text, re.M)
    scores = [float(found) for found in re.findall(r"Dice with E\[L\] (\d\.\d{4})", text)]
    assert len(scores) == 3
    assert max(scores) == scores[2]  # of E[L] itself
    assert re.search(r"^noise of a batch: \S+ ms on the cpu, \S+ % of a step$", text, re.M)

    options = [*SMALL, "--checkpoint", str(tmp_path / "run.pt")]
    script.main([*options, "--epochs", "1"])
    script.main([*options, "--epochs", "3"])
    assert losses(capsys.readouterr().out) == whole
    assert [one.name for one in tmp_path.iterdir()] == ["run.pt"]


def test_the_theory_is_that_of_the_noise(
    script: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies outside matters to labels at an edge."""
    label = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    label[:, :5] = 1
    field, noise = script.GaussianField(2.0, 4.0, ndim=3), script.LabelNoise(2.0, 4.0, ndim=3)
    mean = field.marginals(label, mode=noise.mode)
    monkeypatch.setattr(script, "Phantoms", lambda *_, **__: [{"image": mean, "label": label}] * 2)
    args = script.make_parser().parse_args(SMALL)

    class Exact(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            return image.logit()

    script.evaluate(Exact(), field, args, torch.device("cpu"))
    assert "new images: 0.0000 mean" in capsys.readouterr().out


def test_phantoms_differ_and_stay(script: Any) -> None:
    data = script.Phantoms(3, 16)
    labels = [data[i]["label"] for i in range(3)]
    assert all(0 < int(label.sum()) < label.numel() / 2 for label in labels)
    assert not torch.equal(labels[0], labels[1])
    assert torch.equal(script.Phantoms(1, 16, first=2)[0]["image"], data[2]["image"])


def test_two_ranks_train_one_network() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), *SMALL, "--epochs", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert len(losses(done.stdout)) == 2  # of one rank alone
