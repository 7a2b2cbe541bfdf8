"""Counted parameters and multiplications against formulas; the student for microcontrollers has its stated size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imu_video.encoders import DeepConvLSTM, HaroodTransformer, MicroConvLSTM
from imu_video.encoders.cost import cost


def test_convolutions_and_recurrent_layers() -> None:
    model = DeepConvLSTM(channels=3, width=4, hidden=5)
    found = cost(model.train(), samples=40)
    convolutions = sum((40 - 4 * i) * 3 * 4 * 5 * (1 if i == 1 else 4) for i in range(1, 5))
    recurrent = 24 * (4 * 5 * (12 + 5) + 4 * 5 * (5 + 5))
    assert found.macs == convolutions + recurrent
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert model.training


def test_attention_is_counted_in_every_form() -> None:
    model = HaroodTransformer(channels=4, samples=20, width=8, layers=2, heads=2, ffn=6)
    layer = 4 * (4 * 8 * 8 + 2 * 8 * 6) + 2 * 4 * 4 * 8  # projections and feed-forward of 4 tokens; scores and values
    assert cost(model, samples=20).macs == 4 * 20 * 8 + 2 * layer


@pytest.mark.parametrize(("channels", "parameters"), [(6, 10_974), (9, 11_217)])
def test_the_student_for_microcontrollers_has_eleven_thousand_parameters(channels: int, parameters: int) -> None:
    model = MicroConvLSTM(channels=channels)
    first, second = channels * 16 * 5 + 3 * 16, 16 * 24 * 5 + 3 * 24
    recurrent = 2 * (4 * 22 * (24 + 22) + 8 * 22)
    assert sum(p.numel() for p in model.parameters()) == first + second + recurrent + channels == parameters
    assert model.tokens(torch.zeros(2, channels, 128)).shape == (2, 32, 44)
    assert sum(isinstance(m, nn.LSTM) for m in model.modules()) == 1
