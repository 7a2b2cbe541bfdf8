"""DeepConvLSTM: published widths and counts, and a twin in loops."""

from __future__ import annotations

import torch

from imu_video.encoders import DeepConvLSTM


def test_published_widths() -> None:
    """Four convolutions of 64 filters and 5 samples: 24 samples leave 8 steps; 113 channels give 7232 values a step."""
    model = DeepConvLSTM(channels=113)
    assert sum(p.numel() for p in model.convolutions.parameters()) == (5 * 64 + 64) + 3 * (5 * 64 * 64 + 64)
    gates = [4 * (64 * 113 * 128 + 128 * 128 + 2 * 128), 4 * (2 * 128 * 128 + 2 * 128)]
    assert sum(p.numel() for p in model.lstm.parameters()) == sum(gates)
    assert model.lstm.input_size == 7232
    assert model.tokens(torch.zeros(1, 113, 24)).shape == (1, 8, 128)


def test_a_twin_in_loops() -> None:
    torch.manual_seed(0)
    model = DeepConvLSTM(channels=2, width=3, kernel=3, convolutions=2, hidden=4, layers=2).double().eval()
    window = torch.randn(2, 9, dtype=torch.float64)
    series = [[channel[None]] for channel in window]  # per channel, the maps of the last layer
    for layer in (model.convolutions[0], model.convolutions[2]):
        for number, (maps,) in enumerate(series):
            steps = maps.shape[1] - 2
            out = torch.stack(
                [(layer.weight * maps[:, t : t + 3]).sum((1, 2)) + layer.bias for t in range(steps)], dim=1
            )
            series[number] = [out.clamp(min=0)]
    inputs = [torch.stack([maps[:, t] for (maps,) in series], 1).flatten() for t in range(5)]  # filter by filter
    for number in range(2):
        given = [getattr(model.lstm, f"{name}_l{number}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        state = memory = torch.zeros(4, dtype=torch.float64)
        states = []
        for x in inputs:
            gates = (given[0] @ x + given[2] + given[1] @ state + given[3]).reshape(4, 4)
            memory = gates[1].sigmoid() * memory + gates[0].sigmoid() * gates[2].tanh()
            state = gates[3].sigmoid() * memory.tanh()
            states.append(state)
        inputs = states
    torch.testing.assert_close(model(window[None])[0], inputs[-1])
