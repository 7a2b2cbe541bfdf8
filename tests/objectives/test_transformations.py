"""Forms of the detection task: the loss against a slow twin, published cuts and warps."""

from __future__ import annotations

import math

import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.objectives import Transformations
from imu_video.runtime.distributed import GlobalDraws
from imu_video.transforms import Permute, TimeWarp
from imu_video.types import PairBatch, PairMeta

ROWS = 8


def batch() -> PairBatch:
    imu = torch.randn(ROWS, 6, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    numbers = {k: torch.arange(ROWS) for k in ("sample", "recording", "device", "subject")}
    meta = PairMeta(**numbers, time=torch.arange(ROWS).double())
    return PairBatch(imu=imu, mask=torch.ones_like(imu, dtype=torch.bool), meta=meta)


def draws() -> GlobalDraws:
    return GlobalDraws(torch.Generator().manual_seed(2))


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("weighting", ["std", "none"])
def test_the_published_form_is_that_of_a_loop(outputs: int, weighting: str) -> None:
    torch.manual_seed(0)
    spec = InputSpec(rate_hz=30, window_s=2, mean=(0.0,) * 6, std=(2.0,) * 6)
    student = EncoderBundle(spec=spec, encoder={"name": "resnet1d", "width": 4, "blocks": [1]}).double()
    task = Transformations(warp=0.2, weighting=weighting, outputs=outputs, cuts="random", curve="spline")  # type: ignore[arg-type]
    task.attach(student)
    task.double()
    inputs = batch()
    total = task(student, inputs, draws()).total
    assert total.dtype == torch.float64

    # The same random numbers in the same order: labels of a task, then what changes the windows.
    random, imu, mask = draws(), inputs.imu, inputs.mask
    steps = [
        lambda x: x.flip(-1),
        lambda x: Permute(max_segments=4, min_samples=10, number="max", p=1)(x, mask, random)[0],
        lambda x: TimeWarp(strength=0.2, curve="spline", scale_gyr=False, p=1)(x, mask, random)[0],
    ]
    labels = []
    for number, step in enumerate(steps):
        labels.append((random.uniform(ROWS) < 0.5).tolist())
        if number == 0:
            random.uniform(ROWS)  # every augmentation draws which rows it changes
        changed = step(imu)
        imu = torch.stack([changed[i] if labels[-1][i] else imu[i] for i in range(ROWS)])
    features = student(imu, mask)
    spreads = [float(torch.stack([c.std(correction=0) for c in row / 2.0]).mean()) for row in inputs.imu]
    expected = 0.0
    for head, label in zip(task.heads.values(), labels, strict=True):
        for i in range(ROWS):
            scores = (features[i] @ head.weight.T + head.bias).tolist()  # type: ignore[operator]
            a, b = (0.0, scores[0]) if outputs == 1 else scores
            chance = math.exp(b) / (math.exp(a) + math.exp(b))
            weight = spreads[i] * ROWS / sum(spreads) if weighting == "std" else 1.0
            expected -= weight * math.log(chance if label[i] else 1 - chance) / ROWS / 3
    assert total.item() == pytest.approx(expected, abs=1e-9)
