"""The study of the spiking encoder: cells of every encoder and its pruned versions, finished work, the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn
from typer.testing import CliRunner

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.testing import write_folder
from imu_video.types import Window

PLAN = """
labels: [sit, walk]
folds: 2
training: {epochs: 1, batch: 8, augment: []}
encoders:
  l2mu: {name: l2mu, pool: 5, layers: 1, width: 6, memory: 3, hidden: 6}
  cnn_gru: {name: cnn_gru, pool: 1, hidden: 4, width: 4}
pruning: {shares: [0.5], epochs: 1}
"""


def test_every_cell_is_trained_once_and_reported(runner: Callable[[str], ModuleType], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        Window(
            key=f"w{i}",
            recording=f"r{i % 4}",
            subject=f"s{i % 4}",
            session="1",
            start=2.0 * i,
            imu={"waist": (9.8 + draw.normal(size=(6, 100)) * (1 + 4 * (i % 8 > 3))).astype(np.float32)},
            label="walk" if i % 8 > 3 else "sit",
            streams={},
        )
        for i in range(32)
    ]
    write_folder(tmp_path / "data", {"test": iter(rows)}, rate_hz=50)
    (tmp_path / "plan.yaml").write_text(PLAN)
    app, study = runner("l2mu").app, tmp_path / "study"
    words = ["train", "--data", str(tmp_path / "data"), "--config", str(tmp_path / "plan.yaml"), "--study", str(study)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (study / "results.jsonl").read_text().splitlines()]
    assert [(line["encoder"], line["fold"]) for line in lines] == [
        (name, fold) for fold in range(2) for name in ("l2mu", "l2mu_0.5", "cnn_gru")
    ]
    assert not set(lines[0]["macro_f1"]) & set(lines[3]["macro_f1"])
    assert lines[1]["spikes"]["synapses"] < lines[0]["spikes"]["synapses"]
    assert CliRunner().invoke(app, words).output == ""
    table = CliRunner().invoke(app, ["report", "--study", str(study)]).output
    assert table.count("| l2mu_0.5 |") == 2
    assert "uJ" in table


def test_multiply_accumulates_are_those_of_the_layers(runner: Callable[[str], ModuleType]) -> None:
    spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(1,) * 6)
    bundle = EncoderBundle(spec=spec, encoder={"name": "cnn_gru", "pool": 1, "hidden": 4, "width": 4}).eval()
    convolutions = [part for part in bundle.encoder.modules() if isinstance(part, nn.Conv1d)]
    steps, expected = 100, 0
    for part in convolutions:
        steps -= 2 * (part.kernel_size[0] - 1)
        expected += steps * part.out_channels * part.in_channels * part.kernel_size[0]
    expected += steps * 3 * 4 * (4 + 4)
    assert runner("l2mu").multiply_accumulates(bundle, torch.zeros(1, 6, 100)) == expected
