"""The Triton kernels' arithmetic without a GPU: the losses' own tests once more under Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the extra `kernels` is not installed (Linux only; CI has it)")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton runs on Linux; CI runs there")

TESTS = Path(__file__).parent

TRAINING = """
import json, torch
from viseme.core.losses import linear_ctc_loss, linear_label_smoothed_ce, masked_cosine
from viseme.core.losses.kernels import usable

torch.manual_seed(0)
body, head = torch.nn.Linear(5, 8), torch.nn.Linear(8, 7)
optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.05)
x, targets = torch.randn(2, 6, 5), torch.tensor([[1, 2, 2], [4, -1, -1]])
frames, labels = torch.tensor([6, 4]), torch.tensor([3, 1])
teacher, counted = torch.randn(2, 6, 8), torch.arange(6) < frames[:, None]
curve = []
for _ in range(12):
    hidden = body(x).tanh()
    loss = linear_ctc_loss(hidden, head.weight, head.bias, targets, frames, labels)
    loss = loss + linear_label_smoothed_ce(hidden[:, :3], head.weight, head.bias, targets)
    loss = loss + masked_cosine(hidden, teacher, counted)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    curve.append(loss.item())
print(json.dumps([usable(x), curve]))
"""


def run(*arguments: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpret else "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("file", ["test_losses_linear.py", "test_losses_angles_and_spectra.py"])
def test_kernels_pass_the_tests_of_their_losses(file: str) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / file), interpret=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout


def test_training_with_kernels_is_training_without() -> None:
    answers = []
    for interpret in (True, False):
        done = run("-c", TRAINING, interpret=interpret)
        assert done.returncode == 0, done.stderr
        used, curve = json.loads(done.stdout)
        assert used is interpret
        answers.append(curve)
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)
    assert answers[0][-1] < answers[0][0] - 1
