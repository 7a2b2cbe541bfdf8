"""One file without a declaration: what is taken from it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.single import read_file
from imu_video.errors import RecordingError


def _table(path: Path, header: str, columns: list[np.ndarray]) -> Path:
    np.savetxt(path, np.column_stack(columns), delimiter=",", header=header, comments="", fmt="%.6f")
    return path


def _acc(scale: float, rows: int = 400) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(level, 0.02, rows) * scale for level in (0.1, 0.2, 0.97)]


def test_a_table_is_read_with_the_units_that_its_values_determine(tmp_path: Path) -> None:
    path = _table(tmp_path / "my walk.csv", "time_ms,ax,ay,az", [np.arange(400) * 20.0, *_acc(1.0)])
    recording = read_file(path, placement="left wrist")
    (stream,) = recording.imu
    assert (recording.name, recording.subject, stream.placement) == ("my_walk", "unknown", "left_wrist")
    assert stream.channels == ("acc_x", "acc_y", "acc_z")
    assert np.allclose(np.diff(stream.times), 0.02)
    assert np.linalg.norm(stream.values, axis=0).mean() == pytest.approx(9.81, rel=0.05)
    assert any(note.startswith("unit of acc: g (") for note in recording.notes), "the guess is stated with its evidence"


@pytest.mark.parametrize(
    ("header", "columns", "what"),
    [
        ("ax,ay,az", _acc(1.0), "time"),
        ("time_ms,ax,ay,az", [np.arange(400) * 20.0, *_acc(3.3)], "unit of acc"),
        ("time_ms,speed", [np.arange(400) * 20.0, np.ones(400)], "channels"),
    ],
    ids=["no time", "no unit", "no axes"],
)
def test_an_ambiguous_table_is_refused_with_the_command_that_declares_it(
    tmp_path: Path, header: str, columns: list[np.ndarray], what: str
) -> None:
    path = _table(tmp_path / "walk.csv", header, columns)
    with pytest.raises(RecordingError, match=what) as error:
        read_file(path)
    assert f"imu-video init {tmp_path}" in str(error.value.hint)


def test_what_nothing_recognises_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "walk.xyz"
    other.write_bytes(b"\x00\x01")
    with pytest.raises(RecordingError, match="no reader recognises"):
        read_file(other)
    with pytest.raises(RecordingError, match="no such file"):
        read_file(tmp_path / "missing.csv")
