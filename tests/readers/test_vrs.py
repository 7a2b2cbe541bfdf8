"""VRS: both IMUs on one clock, invalid samples counted; the package itself is replaced."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import Vrs

TREES = Path(__file__).resolve().parents[1] / "datasets" / "trees.py"


def test_both_imus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("trees_of_datasets", TREES)
    assert spec is not None
    assert spec.loader is not None
    trees = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trees)
    monkeypatch.setattr("imu_video.readers.vrs.aria_provider", trees.FakeAria)
    path = tmp_path / "aria01.vrs"
    path.write_bytes(b"made up")
    reading = Vrs().read(path)
    assert [d.name for d in reading.devices] == ["imu_right", "imu_left"]
    right, left = (d.tracks for d in reading.devices)
    assert len(right["gyr"].times) == 3000
    assert len(right["acc"].times) == 2994
    np.testing.assert_allclose(np.diff(left["gyr"].times), 1 / 800, atol=1e-9)
    assert reading.notes == (
        "imu-right: 6 samples marked invalid: left out",
        "imu-left: 4 samples marked invalid: left out",
    )
    path.write_bytes(b"something else")
    with pytest.raises(RecordingError, match=r"aria01\.vrs: projectaria-tools cannot open it"):
        Vrs().read(path)
    monkeypatch.setattr("imu_video.readers.vrs.aria_provider", lambda: trees.FakeAria(labels=()))
    path.write_bytes(b"made up")
    with pytest.raises(RecordingError, match="no samples of imu-right or imu-left"):
        Vrs().read(path)


def test_the_error_names_the_extra(tmp_path: Path) -> None:
    if importlib.util.find_spec("projectaria_tools") is not None:
        pytest.skip("projectaria-tools is installed")
    with pytest.raises(ConfigError, match="projectaria-tools") as error:
        Vrs().read(tmp_path / "x.vrs")
    assert "imu-video[aria]" in (error.value.hint or "")
