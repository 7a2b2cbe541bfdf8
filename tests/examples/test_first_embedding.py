"""The first example on a recording of the user, with a shipped encoder of the test in place of that of the package."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video import EncoderBundle, InputSpec
from imu_video.bundle import pretrained
from tests.bundle.shipped import ship_tiny

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "first_embedding.py"


@pytest.mark.parametrize("own", [False, True])
def test_it_prints_neighbours_and_a_map(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ship_tiny(tmp_path / "shipped", encoder=EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 16}))
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    words = []
    if own:  # acceleration alone, in g, at another rate, times in milliseconds
        time = np.arange(0, 32, 0.01)
        values = np.random.default_rng(0).normal(0, 0.01, (len(time), 3)) + np.array([0, 0, 1])
        lines = [f"{1000 * t:.0f},{x:.4f},{y:.4f},{z:.4f}" for t, (x, y, z) in zip(time, values, strict=True)]
        (tmp_path / "mine.csv").write_text("ms,ax,ay,az\n" + "\n".join(lines) + "\n")
        words = ["mine.csv"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out = capsys.readouterr().out
    assert f"{6 if own else 20} windows of 5 s" in out
    assert "one letter (cluster of features) per window: A" in out
    assert ("same simulated activity" in out) != own
