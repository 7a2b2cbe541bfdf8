"""Shipped protocols contain the published numbers (methods, sections 1.5, 1.6 and 13.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.protocol import LimitedLabels
from eval.published import plan
from imu_video.config import load_config
from imu_video.datasets.mmea import ACTIVITIES


def labels(name: str, step: str) -> LabelsConfig:
    (call,) = plan(Path("configs/protocols") / name, ["e", "d"], out=Path("r.jsonl"), only=[step])
    assert isinstance(call.protocol, LimitedLabels)
    return load_config(call.protocol.config, LabelsConfig, call.protocol.overrides or [])


@pytest.mark.parametrize("name", ["imu_video_ood_har", "imu_video_ood_har_mmea", "imu_video_ood_har_parkinson"])
def test_imu_video_ood_har(name: str) -> None:
    config = labels(f"{name}.yaml", "few_shot")
    assert config.name == name
    assert (config.labels, config.choose_per_class, config.report) == ([100], 20, "chosen")
    for schedule, epochs in ((config.linear, 25), (config.finetune, 50)):
        assert (schedule.epochs, schedule.batch, schedule.decay) == (epochs, 8, "cosine")
        assert (schedule.norm, schedule.clip, schedule.augment, schedule.warmup) == (False, None, [], 0)
        assert schedule.learning_rate == 1e-3
    assert config.finetune.learning_rate * config.finetune.encoder_factor == pytest.approx(1e-6)
    assert set(config.metrics) == {"accuracy", "balanced_accuracy", "macro_f1"}


def test_the_class_sets_have_five_classes() -> None:
    mmea = labels("imu_video_ood_har_mmea.yaml", "few_shot").classes
    assert mmea is not None
    assert len(mmea) == 5
    assert set(mmea) < set(ACTIVITIES)
    assert len(labels("imu_video_ood_har_parkinson.yaml", "few_shot").classes or []) == 5


def test_unimts() -> None:
    config = labels("unimts.yaml", "few_shot")
    assert config.labels == [1, 2, 3, 5, 10]
    assert labels("unimts.yaml", "full_shot").labels == ["all"]
    modes = {m.name: (m.start, m.learn) for m in config.methods}
    assert modes == {"full": ("encoder", "all"), "probe": ("encoder", "linear"), "random": ("random", "all")}
    for schedule in (config.linear, config.finetune, config.scratch):
        assert (schedule.epochs, schedule.batch, schedule.learning_rate) == (200, 64, 1e-4)
        assert (schedule.decay, schedule.weight_decay, schedule.clip, schedule.norm) == ("constant", 0, None, False)
    assert len(config.seeds) >= 3
