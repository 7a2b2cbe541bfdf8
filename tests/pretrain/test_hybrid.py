"""A hybrid encoder through a run: its statistics are fitted to the training windows once, and leave with the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imu_video.bundle.encoder import load_encoder
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.reporter import StopSignal
from pretrain.prepare.prepare import Prepared
from pretrain.run import run

ENCODER = {"name": "hybrid", "network": {"name": "segment_cnn", "width": 8, "blocks": 2, "norm": "group"}}


def test_a_hybrid_is_fitted_trained_resumed_and_exported(
    make_config: Callable[..., PretrainConfig],
    prepared: Callable[..., Prepared],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(optim={"steps": 6}).model_copy(update={"encoder": ENCODER})
    ready = prepared(config)
    stated = ready.config.encoder
    assert (stated["rate_hz"], stated["samples"], len(stated["names"])) == (25.0, 50, 6)
    start = {k: v.clone() for k, v in ready.parts.task.model.student.encoder.state_dict().items()}
    assert bool(start["statistics_scale.fitted"])

    asked = iter([False] * 2 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(config, folder=tmp_path / "parts").state.step == 3
    run(config, folder=tmp_path / "parts")
    run(config, folder=tmp_path / "whole")
    for name in ("parts", "whole"):
        assert export(tmp_path / name, tmp_path / f"encoder_{name}", checkpoint="latest").difference == 0.0
    one, two = (load_encoder(tmp_path / f"encoder_{name}") for name in ("parts", "whole"))
    end = two.encoder.state_dict()
    assert all(torch.equal(value, end[name]) for name, value in one.encoder.state_dict().items())
    assert torch.equal(start["statistics_scale.mean"], end["statistics_scale.mean"])
    assert not torch.equal(start["network_scale.mean"], end["network_scale.mean"])
    assert list(two.parts) == ["network", "statistics"]
