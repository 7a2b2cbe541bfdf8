"""check_objective and check_tower catch what they promise to catch; the documentation's example passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imu_video.objectives import Objective
from imu_video.registry import load_plugin, objectives, towers
from imu_video.sides.skeleton import StreamTower
from imu_video.testing import check_objective, check_tower
from imu_video.types import LossOutput

DOCS = Path(__file__).resolve().parents[2] / "docs" / "guides" / "encoders-and-losses.md"


def broken(name: str, total: Any) -> str:
    """Register an objective whose loss is what ``total(self, student, batch, draws)`` returns."""

    class Broken(nn.Module):
        def attach(self, student: Any) -> None:
            self.head = nn.Linear(student.feature_dim, 1)

        def forward(self, student: Any, batch: Any, draws: Any) -> LossOutput:
            return LossOutput(total=total(self, student, batch, draws))

    Broken.__qualname__ = name
    objectives.register(f"test_{name}")(Broken)
    return f"test_{name}"


def loss(self: Any, student: Any, imu: Tensor, mask: Tensor) -> Tensor:
    return self.head(student(imu, mask)).square().mean()


@pytest.mark.parametrize(
    ("name", "total", "words"),
    [
        ("detached", lambda s, e, b, d: s.head(e(b.imu, b.mask).detach()).mean(), "no gradient reaches the student"),
        ("headless", lambda s, e, b, d: e(b.imu, b.mask).square().mean(), "the gradient of head.weight is missing"),
        ("random", lambda s, e, b, d: loss(s, e, b.imu + torch.rand(1), b.mask), "global generator"),
        ("peeking", lambda s, e, b, d: loss(s, e, b.imu, torch.ones_like(b.mask)), "under a False mask"),
        ("vector", lambda s, e, b, d: s.head(e(b.imu, b.mask))[:, 0], "finite scalar"),
    ],
)
def test_broken_objectives_are_caught(name: str, total: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_objective(broken(name, total))


@objectives.register("test_summed")
class Summed(Objective):
    """Sums over its own rows: two processes then make half the loss of one."""

    def attach(self, student: Any) -> None:
        self.head = nn.Linear(student.feature_dim, 1)

    def forward(self, student: Any, batch: Any, draws: Any) -> LossOutput:
        return LossOutput(total=loss(self, student, batch.imu, batch.mask) * len(batch.imu))


@pytest.mark.slow  # starts two processes
def test_a_loss_that_sums_over_ranks_is_caught() -> None:
    check_objective("test_summed")  # in one process nothing shows
    with pytest.raises(AssertionError, match="differs from one process"):
        check_objective("test_summed", ranks=2)


def test_a_tower_with_random_numbers_of_its_own_is_caught() -> None:
    class Noisy(StreamTower):
        def over_time(self, x: Tensor) -> Tensor:
            return super().over_time(x + torch.rand(1))

    with pytest.raises(AssertionError, match=r"forward is not pool|depend on the other rows"):
        check_tower(Noisy(joints=["pelvis", "neck", "left_hip", "right_hip", "a", "b"], width=4))
    assert "skeleton" in towers.names()


def test_the_documented_objective_passes(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text[text.index("## Your own objective") :], re.S)[0]
    file = tmp_path / "my_parts.py"
    file.write_text(code)
    load_plugin(file)
    check_objective("loudness")
