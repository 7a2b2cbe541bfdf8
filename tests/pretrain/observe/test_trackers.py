"""The log that is always written, and TensorBoard when asked for."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError
from pretrain.observe.trackers import JsonLines, open_trackers, read_log


def test_lines_come_back_and_a_cut_one_is_left_out(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.log("train", 1, {"loss": 0.5, "odd": float("nan")})
    log.close()
    with open(log.path, "a") as file:
        file.write('{"kind": "train", "st')
    assert read_log(log.path) == [{"kind": "train", "step": 1, "loss": 0.5, "odd": None}]


@pytest.mark.parametrize(("start", "kept"), [(0, []), (2, [1, 2]), (9, [1, 2, 3])])
def test_lines_past_the_checkpoint_are_dropped(tmp_path: Path, start: int, kept: list[int]) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.log("train", step, {"loss": 1.0 / step})
    log.close()
    for tracker in open_trackers(tmp_path, "none", start=start):
        tracker.close()
    assert [line["step"] for line in read_log(log.path)] == kept


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for tracker in open_trackers(tmp_path, "tensorboard", start=0):
        tracker.log("train", 1, {"loss": 0.5})
        tracker.log("train", 2, {"loss": 0.25})
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(e.step, e.value) for e in events] == [(1, 0.5), (2, 0.25)]
    assert [line["loss"] for line in read_log(tmp_path / "log.jsonl")] == [0.5, 0.25]


def test_a_missing_package_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="tensorboard is not installed") as caught:
        open_trackers(tmp_path, "tensorboard", start=0)
    assert "imu-video[track]" in str(caught.value)
