"""The evaluation on real recordings: hand-crafted features tell HAPT's activities apart, shuffled labels do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.data.features import compute_features
from eval.data.splits import draw_episodes
from eval.data.windows import load_windows
from eval.probes import RidgeProbe
from eval.protocols.fewshot.run import tally_probe
from imu_video.config import load_config, validate
from imu_video.metrics.classify import macro_f1
from imu_video.shards.building.build import BuildConfig, build


@pytest.mark.realdata
@pytest.mark.slow
def test_hand_crafted_features_on_hapt(real_data_unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    config = {
        "dataset": {"name": "hapt", "root": str(real_data_unpacked("uci-hapt"))},
        "window": {"seconds": 4.0, "rate_hz": 50, "label_coverage": 0.8},
        "splits": {"subjects": {"test": [f"user{i:02d}" for i in range(1, 11)]}},
    }
    index = build(validate(config, BuildConfig, source="test"), tmp_path / "hapt")
    windows = load_windows(index, splits=["test"])
    loaded = load_config("configs/eval/hapt.yaml", EvalConfig, ["episodes.episodes=20", "episodes.shots=[1, 5]"])

    def score(shuffled: bool, shots: int) -> float:
        rng = np.random.default_rng(0)
        used = replace(windows, labels=rng.permutation(windows.labels)) if shuffled else windows
        episodes = draw_episodes(used, loaded.domains[0], loaded.episodes)
        features = compute_features("handcrafted", used, episodes.rows, bundle=None)  # type: ignore[arg-type]
        counts = tally_probe(used, episodes, features, RidgeProbe(), shots)[0][0]
        return float(np.nanmean(macro_f1(counts)))

    one, five = score(False, 1), score(False, 5)
    assert 0.55 < one < five
    assert 0.8 < five < 0.95
    assert score(True, 5) < 0.25, "six classes: chance is 1/6"
