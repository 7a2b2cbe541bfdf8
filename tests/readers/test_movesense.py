"""Movesense: batches under one stamp become samples; lost batches stay gaps."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import Movesense
from imu_video.recordings.signal import convert


@pytest.mark.parametrize("form", ["data", "lines"])
def test_batches_become_samples(files: ModuleType, tmp_path: Path, form: str) -> None:
    gravity, linear, rate = files.turning()
    tracks = Movesense().read(files.movesense(tmp_path, form)).devices[0].tracks
    count = len(tracks["acc"].times)
    assert count == 96
    np.testing.assert_allclose(tracks["acc"].values, (gravity + linear)[:, :count], atol=1e-9)
    np.testing.assert_allclose(convert(tracks["gyr"].values, "deg/s", "gyr"), rate[:, :count], atol=1e-9)
    np.testing.assert_allclose(tracks["acc"].times, files.TIMES[:count], atol=1e-3)


def test_a_lost_batch_is_a_gap(files: ModuleType, tmp_path: Path) -> None:
    path = files.movesense(tmp_path)
    records = json.loads(path.read_text())["data"]
    del records[5]
    path.write_text(json.dumps({"data": records}))
    times = Movesense().read(path).devices[0].tracks["acc"].times
    np.testing.assert_allclose(np.delete(files.TIMES[:96], slice(40, 48)), times, atol=1e-3)


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": [{"acc": {"Timestamp": "soon", "ArrayAcc": []}}]}')
    with pytest.raises(RecordingError, match="Timestamp 'soon', expected milliseconds"):
        Movesense().read(path)
    path.write_text('{"data": [{"acc": {"Timestamp": 1, "ArrayAcc": [{"x": 1}]}}]}')
    with pytest.raises(RecordingError, match="a record of ArrayAcc is not a list of x, y, z"):
        Movesense().read(path)
