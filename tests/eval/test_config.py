"""Every shipped evaluation config resolves, and the base config says the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.config import EvalConfig
from eval.probes import probes
from imu_video.config import load_config, shipped
from imu_video.errors import ConfigError
from imu_video.transforms import Compose

DEMO = Path(__file__).resolve().parents[2] / "studies" / "demo" / "configs" / "eval.yaml"

CONFIGS = sorted((shipped() / "eval").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_build(path: Path) -> None:
    config = load_config(path, EvalConfig)
    for entry in config.probe_entries:
        probes.build(entry)
    Compose.build(config.references.supervised.augment)


def test_the_base_config_is_the_defaults() -> None:
    assert load_config("configs/eval/base.yaml", EvalConfig) == EvalConfig()


def test_supervised_names_known_domains_and_shots() -> None:
    with pytest.raises(ConfigError, match=r"\['peeple', '3'\] are not domains or shots"):
        load_config(
            "configs/eval/base.yaml",
            EvalConfig,
            ["references.supervised.domains=[peeple]", "references.supervised.shots=[1, 3]"],
        )


def test_overrides_reach_lists_and_sections() -> None:
    config = load_config(DEMO, EvalConfig, ["domains.0.split=val", "episodes.shots=[2]"])
    assert config.domains[0].split == "val"
    assert config.splits == ["val", "test"]
    assert config.episodes.shots == [2]
