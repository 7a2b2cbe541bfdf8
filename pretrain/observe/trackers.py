"""Trackers of a run's metrics: log.jsonl always, TensorBoard on request; nothing is computed or printed here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from imu_video.errors import ConfigError
from imu_video.runtime.files import write_atomic
from imu_video.types import JsonDict


class Tracker(Protocol):
    """Records the metrics of a step."""

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Record metrics; ``kind`` is ``train`` or ``validate``, ``step`` counts optimiser steps done."""

    def close(self) -> None:
        """Flush and release files."""


class JsonLines:
    """One JSON object per line: ``{"kind": "train", "step": 10, "loss": ...}``.

    Args:
        path: log file; lines are appended and flushed at once.

    Example:
        >>> import tempfile
        >>> log = JsonLines(Path(tempfile.mkdtemp()) / "log.jsonl")
        >>> log.log("train", 1, {"loss": 0.5})
        >>> read_log(log.path)
        [{'kind': 'train', 'step': 1, 'loss': 0.5}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by close()

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        # JSON has no NaN or infinity: such values are written as null.
        clean = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **clean}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files for TensorBoard, one scalar per metric.

    Args:
        folder: RUN/tensorboard.
        start: steps done when the run starts or resumes; later events of an interrupted run are hidden.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, folder: Path, *, start: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "run.tracker is tensorboard, but the package tensorboard is not installed",
                hint="pip install 'imu-video[track]', or run.tracker=none (log.jsonl is always written)",
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


def open_trackers(folder: Path, tracker: str, *, start: int) -> list[Tracker]:
    """The trackers of a run folder; log lines after step ``start``, which the resumed run repeats, are removed."""
    path = folder / "log.jsonl"
    if path.exists():
        kept = [line for line in read_log(path) if 0 < start >= line["step"]]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
    trackers: list[Tracker] = [JsonLines(path)]
    if tracker == "tensorboard":
        trackers.append(TensorBoard(folder / "tensorboard", start=start))
    return trackers


def read_log(path: Path) -> list[JsonDict]:
    """Lines of a log.jsonl; an incomplete last line of a killed process is skipped."""
    lines: Sequence[str] = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]
