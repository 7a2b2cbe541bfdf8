"""Every shipped benchmark config is valid, and its grid names arguments that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.protocols.ood.config import OodConfig, runs
from imu_video import registry
from imu_video.config import load_config

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "configs" / "eval" / "ood", ROOT / "studies" / "transfer" / "configs" / "ood")
CONFIGS = sorted(path for folder in FOLDERS for path in folder.glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_models_and_algorithms_exist(path: Path) -> None:
    config = load_config(path, OodConfig)
    assert config.scenario.name == path.stem
    assert runs(config, ["a", "b", "c"] if config.scenario.targets is None else [*config.scenario.targets])
    for model in config.models:
        if model.backbone is not None:
            registry.encoders.arguments(model.backbone, channels=6, samples=128)
