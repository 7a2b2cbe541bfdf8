"""Forms of the masked task: zeros in place of patches and one head for all channels, against a loop; refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError
from imu_video.objectives import MaskedPatches
from imu_video.runtime.distributed import GlobalDraws
from imu_video.types import PairBatch, PairMeta

ROWS, PATCH, COUNT = 3, 10, 5
ENCODER = {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 16, "patch": PATCH, "stride": PATCH}


def bundle(**options: Any) -> EncoderBundle:
    torch.manual_seed(0)
    spec = InputSpec(rate_hz=25, window_s=2.2, mean=(0.0,) * 6, std=(2.0,) * 6)
    return EncoderBundle(spec=spec, encoder={**ENCODER, **options}).double()


def batch() -> PairBatch:
    imu = torch.randn(ROWS, 6, 55, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[1, 2, :17] = False
    numbers = {k: torch.arange(ROWS) for k in ("sample", "recording", "device", "subject")}
    meta = PairMeta(**numbers, time=torch.arange(ROWS).double())
    return PairBatch(imu=torch.where(mask, imu, 0), mask=mask, meta=meta)


@pytest.mark.parametrize("scaling", ["instance", "none"])
def test_zeros_in_place_of_patches_are_those_of_a_loop(scaling: str) -> None:
    student, inputs = bundle(scaling=scaling), batch()
    task = MaskedPatches(patch=PATCH, standardise=False, shown="zeros", head="shared")
    task.attach(student)
    task.double()
    assert task.head.weight.shape == (PATCH, 8)
    total = task(student, inputs, GlobalDraws(torch.Generator().manual_seed(2))).total

    chance = GlobalDraws(torch.Generator().manual_seed(2)).uniform(ROWS, 6, COUNT)
    series = inputs.imu / 2
    if scaling == "instance":
        for i in range(ROWS):
            for c in range(6):
                known = series[i, c][inputs.mask[i, c]]
                spread = (known.var(correction=0) + 1e-5).sqrt()
                series[i, c] = torch.where(inputs.mask[i, c], (series[i, c] - known.mean()) / spread, 0)
    shown = series.clone()
    chosen = {(i, c, int(p)) for i in range(ROWS) for c in range(6) for p in chance[i, c].argsort()[:2]}
    for i, c, p in chosen:
        shown[i, c, 5 + p * PATCH : 5 + (p + 1) * PATCH] = 0
    plain = bundle(scaling="none").encoder
    tokens: Any = plain.tokens(shown, inputs.mask)  # type: ignore[operator]
    errors = []
    for i, c, p in chosen:
        here = slice(5 + p * PATCH, 5 + (p + 1) * PATCH)
        guess = tokens[i, p, 8 * c : 8 * (c + 1)] @ task.head.weight.T + task.head.bias
        errors += ((guess - series[i, c, here]) ** 2)[inputs.mask[i, c, here]].tolist()
    assert total.item() == pytest.approx(sum(errors) / len(errors), abs=1e-9)


def test_a_window_that_is_already_scaled_is_not_scaled_again() -> None:
    encoder: Any = bundle(scaling="instance").encoder
    x = batch().imu
    assert torch.allclose(encoder.tokens(encoder.scaled(x), scaled=True), encoder.tokens(x))
    assert not torch.allclose(encoder.tokens(x, scaled=True), encoder.tokens(x))


@pytest.mark.parametrize(
    ("encoder", "options", "words"),
    [
        ({"name": "tpn", "width": 3}, {"shown": "zeros"}, "needs an encoder with patches of 10"),
        ({**ENCODER, "stride": 5}, {"shown": "zeros"}, "needs an encoder with patches of 10"),
        ({"name": "tpn", "width": 3, "pooling": "mean"}, {"head": "shared"}, "equally many features per channel"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(encoder: dict[str, Any], options: dict[str, Any], words: str) -> None:
    spec = InputSpec(rate_hz=25, window_s=2.2, mean=(0.0,) * 6, std=(2.0,) * 6)
    with pytest.raises(ConfigError, match=words):
        MaskedPatches(patch=PATCH, **options).attach(EncoderBundle(spec=spec, encoder=encoder))
