"""Several processes equal one: gathers, a whole model in training, and the helper that runs them."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.losses import LossMix
from imu_video.models.cross_modal import CrossModalModel
from imu_video.runtime.distributed import gather, gather_with_gradient, world
from imu_video.testing import run_on_ranks
from imu_video.types import PairBatch, PairEmbeddings, PairMeta

ROWS = 12
LOSSES = [{"name": "info_nce", "weight": 0.7}, {"name": "sigmoid_pair", "weight": 0.3}]


class Task(nn.Module):
    """Model and losses as one module, so that the gradient of the learned scale is averaged with the rest."""

    def __init__(self) -> None:
        super().__init__()
        spec = InputSpec(rate_hz=50, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
        encoder = {"name": "patch_tst", "width": 16, "layers": 2, "heads": 2, "ffn": 32}
        self.model = CrossModalModel(student=EncoderBundle(spec=spec, encoder=encoder), teacher_dim=10, dim=8)
        self.loss = LossMix.build(LOSSES)

    def forward(self, batch: PairBatch) -> tuple[Tensor, PairEmbeddings]:
        pair = self.model(batch)
        return self.loss(pair).total, pair


def train(steps: int) -> dict[str, Tensor]:
    """Curve and final weights of a small run on this rank's rows of fixed global batches."""
    here = world()
    rows = here.rows(ROWS)
    torch.manual_seed(0)
    task = Task()
    generator = torch.Generator().manual_seed(1)
    curve = []
    for _ in range(steps):
        imu = torch.randn(ROWS, 6, 100, generator=generator)
        mask = torch.rand(ROWS, 6, 1, generator=generator).expand(-1, -1, 100) > 0.1
        teacher = torch.randn(ROWS, 10, generator=generator)
        meta = PairMeta(**{k: torch.arange(ROWS)[rows] for k in ("sample", "recording", "time", "device", "subject")})
        batch = PairBatch(imu=(imu * mask)[rows], mask=mask[rows], teacher=teacher[rows], meta=meta)
        task.zero_grad()
        total, pair = task(batch)
        total.backward()
        # Averaging and descent by hand: DDP and torch.optim take seconds to import in every process.
        for parameter in task.parameters():
            if here.size > 1:
                dist.all_reduce(parameter.grad)
            parameter.data -= 0.03 * parameter.grad / here.size
        task.loss.observe(pair)
        curve.append(gather(total[None]).mean())
    return {"curve": torch.stack(curve), **task.state_dict()}


def everything(steps: int) -> dict[str, dict[str, Tensor]]:
    here = world()
    x = torch.arange(4.0).reshape(2, 2) + 10 * here.rank
    x.requires_grad_()
    gathered = gather_with_gradient(x)
    # Each rank weighs all rows by its own rank + 1: the gradient of a row is the sum of all ranks' weights.
    (gathered * (here.rank + 1)).sum().backward()
    assert x.grad is not None
    return {"gather": {"out": gathered.detach(), "plain": gather(x), "grad": x.grad}, "train": train(steps)}


@pytest.mark.slow  # every loss over two ranks is compared in tests/contracts
def test_three_ranks_equal_one_process() -> None:
    """A2 for the whole model: PatchTST, projectors and learned scales, gradients averaged as DDP does, 20 steps."""
    results = run_on_ranks(everything, 20, ranks=3)
    expected = torch.cat([torch.arange(4.0).reshape(2, 2) + 10 * rank for rank in range(3)])
    for result in results:
        assert torch.equal(result["gather"]["out"], expected)
        assert torch.equal(result["gather"]["plain"], expected)
        assert torch.equal(result["gather"]["grad"], torch.full((2, 2), 1.0 + 2.0 + 3.0))
    single = train(20)
    assert single["curve"][-1] < single["curve"][0]
    for result in results:
        assert torch.allclose(result["train"]["curve"], single["curve"], atol=1e-4)
    for key, value in single.items():
        assert torch.allclose(results[0]["train"][key], value, atol=1e-5), key
        assert torch.equal(results[0]["train"][key], results[2]["train"][key]), key


def test_without_a_group_gathers_are_the_identity() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    assert gather_with_gradient(x) is x
    assert torch.equal(gather(x), x)
    assert not gather(x).requires_grad


def fail_on_the_second_rank() -> None:
    if world().rank == 1:
        raise ValueError("the second rank has a reason")
    dist.barrier()


def test_a_failing_rank_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="the second rank has a reason"):
        run_on_ranks(fail_on_the_second_rank, ranks=2)


def sleep_for_ever() -> None:
    time.sleep(3600)


def test_ranks_that_hang_are_ended() -> None:
    with pytest.raises(RuntimeError, match="no end after 1 s"):
        run_on_ranks(sleep_for_ever, ranks=1, timeout_s=1)


def test_only_top_level_functions_travel() -> None:
    with pytest.raises(ValueError, match="top-level"):
        run_on_ranks(lambda: None, ranks=2)
