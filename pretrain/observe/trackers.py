"""Trackers of a run's metrics: log.jsonl always, TensorBoard on request; nothing is computed or printed here."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from imu_video.errors import ConfigError, DataError, GuardStop
from imu_video.runtime.documents import parse_json, read_bytes
from imu_video.runtime.files import write_atomic
from imu_video.types import JsonDict

logger = logging.getLogger(__name__)

_LARGEST = 4 * 2**30  # of a log: a line has about 300 bytes

SET_ASIDE = "log.set-aside.jsonl"
"""Lines that were taken out of log.jsonl, unchanged: damaged ones, and those of steps that a resumed run repeats."""


class Tracker(Protocol):
    """Records the metrics of a step."""

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Record metrics; ``kind`` is ``train`` or ``validate``, ``step`` counts optimiser steps done."""

    def close(self) -> None:
        """Flush and release files."""


class JsonLines:
    """One JSON object per line: ``{"kind": "train", "step": 10, "loss": ...}``.

    Args:
        path: log file; lines are appended and written at once.
        check: called before each line; raises where the run folder is no longer the one that the run was started in.

    Raises:
        GuardStop: a line cannot be written.

    Example:
        >>> import tempfile
        >>> log = JsonLines(Path(tempfile.mkdtemp()) / "log.jsonl")
        >>> log.log("train", 1, {"loss": 0.5})
        >>> read_log(log.path)
        [{'kind': 'train', 'step': 1, 'loss': 0.5}]
    """

    def __init__(self, path: Path, *, check: Callable[[], None] | None = None) -> None:
        self.path = path
        self._check = check or (lambda: None)
        # Without a buffer: a line that a full disk refused must not be written again by close().
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close()

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        # JSON has no NaN or infinity: such values are written as null.
        clean = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        line = json.dumps({"kind": kind, "step": step, **clean}, allow_nan=False).encode() + b"\n"
        self._check()
        try:
            self._follow()
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise GuardStop(
                f"{self.path}: the metrics of step {step} cannot be written: {error.strerror}",
                hint="free some space, or make the folder writable; the same command then continues from the newest "
                "checkpoint",
            ) from error

    def _follow(self) -> None:
        """Write to a new file where the log was deleted or replaced (by an editor, for example)."""
        mine = os.fstat(self._file.fileno())
        try:
            there = os.stat(self.path)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return
        except FileNotFoundError:
            pass
        self._file.close()
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        logger.warning(f"{self.path} was deleted or replaced while the run was writing to it; the next lines follow")

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


def open_trackers(folder: Path, tracker: str, *, start: int, check: Callable[[], None] | None = None) -> list[Tracker]:
    """The trackers of a run folder.

    Log lines after step ``start``, which the resumed run repeats, and damaged ones move to `SET_ASIDE`.

    Args:
        folder: the run folder.
        tracker: ``run.tracker``.
        start: steps done.
        check: see `JsonLines`.
    """
    path = folder / "log.jsonl"
    if path.exists():
        _set_aside(path, start=start)
    trackers: list[Tracker] = [JsonLines(path, check=check)]
    if tracker == "tensorboard":
        trackers.append(TensorBoard(folder / "tensorboard", start=start))
    return trackers


def _set_aside(path: Path, *, start: int) -> None:
    kept, taken, damaged, last = [], [], 0, 0
    for raw, line in _lines(path):
        # A run that starts again at step 0 repeats its validation of the untrained encoder, too.
        if line is not None and 0 < start >= line["step"]:
            kept.append(raw)
            continue
        taken.append(raw)
        damaged += line is None and raw.endswith(b"\n")  # an incomplete last line is that of a killed process
        last = max(last, line["step"] if line is not None else 0)
    if not taken:
        return
    aside = path.with_name(SET_ASIDE)
    with open(aside, "ab") as file:
        file.writelines(raw if raw.endswith(b"\n") else raw + b"\n" for raw in taken)
        file.flush()
        os.fsync(file.fileno())
    write_atomic(path, b"".join(kept))
    if damaged:
        logger.warning(f"{path}: damaged lines moved to {aside.name}: {damaged}")
    if start == 0 and last > 0:
        logger.warning(
            f"{path.parent} has a log up to step {last} but no checkpoint: the run starts again at step 0; "
            f"the lines moved to {aside.name}"
        )
    elif last > start:
        logger.info(f"{path}: lines after step {start}, up to step {last}, moved to {aside.name}")


def read_log(path: Path) -> list[JsonDict]:
    """Lines of a log.jsonl; damaged ones, and the incomplete last line of a killed process, are skipped."""
    return [line for _, line in _lines(path) if line is not None]


def count_damaged(path: Path) -> int:
    """Number of lines of a log.jsonl that `read_log` skips because they are damaged."""
    return sum(line is None and raw.endswith(b"\n") for raw, line in _lines(path))


def _lines(path: Path) -> list[tuple[bytes, JsonDict | None]]:
    """Each line of a log as it is in the file, and its content; None where it is not one that `JsonLines` wrote."""
    *whole, rest = read_bytes(path, limit=_LARGEST).split(b"\n")
    return [(raw, _parsed(raw)) for raw in (*(line + b"\n" for line in whole), *([rest] if rest else []))]


def _parsed(raw: bytes) -> JsonDict | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        line: Any = parse_json(raw, "line")
    except DataError:
        return None
    known = isinstance(line, dict) and isinstance(line.get("kind"), str) and type(line.get("step")) is int
    return line if known else None
