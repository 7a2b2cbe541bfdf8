"""phyphox: every form, delimiter and decimal mark of one motion agrees; pauses become gaps."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import Phyphox


@pytest.mark.parametrize(
    ("form", "how"),
    [
        ("zip", {}),
        ("folder", {"delimiter": ";", "decimal": ","}),
        ("zip", {"delimiter": "\t", "decimal": ","}),
        ("xlsx", {}),
    ],
)
def test_every_export_gives_the_same_motion(files: ModuleType, tmp_path: Path, form: str, how: dict[str, str]) -> None:
    gravity, linear, rate = files.turning()
    reading = Phyphox().read(files.phyphox(tmp_path, form, **how))
    tracks = reading.devices[0].tracks
    assert reading.devices[0].gravity is True
    np.testing.assert_allclose(tracks["acc"].values, gravity + linear, atol=1e-8)
    np.testing.assert_allclose(tracks["gyr"].values, rate, atol=1e-8)
    np.testing.assert_allclose(tracks["gyr"].times, files.TIMES + 0.003, atol=1e-6)
    assert reading.start_utc == files.START
    assert reading.tags == {"app": "phyphox", "phone": "Pixel 6a", "app_version": "1.1.16"}


def test_linear_acceleration_is_named_by_its_columns(files: ModuleType, tmp_path: Path) -> None:
    _, linear, _ = files.turning()
    path = files.phyphox(tmp_path, "folder")
    wanted = Phyphox(acceleration="linear").read(path).devices[0]
    np.testing.assert_allclose(wanted.tracks["acc"].values, linear, atol=1e-8)
    assert wanted.gravity is False
    (path / "Accelerometer.csv").unlink()
    assert Phyphox().read(path).devices[0].gravity is False, "the only one"
    with pytest.raises(ConfigError, match="no acceleration with gravity, only the other one"):
        Phyphox(acceleration="with_g").read(path)
    text = (path / "Linear Accelerometer.csv").read_text().replace("Linear Acceleration", "Lineare Beschleunigung")
    (path / "Rohdaten.csv").write_text(text.replace("Time (s)", "Zeit (s)"))
    (path / "Linear Accelerometer.csv").unlink()
    assert Phyphox().read(path).devices[0].gravity is False, "in the language of the phone"


def test_a_pause_is_a_gap_and_not_lost(files: ModuleType, tmp_path: Path) -> None:
    time = files.PHYPHOX_TIME + (
        f'"PAUSE",1.000000000E0,{files.START + 1.0:.3f},"x"\n"START",1.000000000E0,{files.START + 5.0:.3f},"x"\n'
    )
    reading = Phyphox().read(files.phyphox(tmp_path, "zip", time=time))
    times = reading.devices[0].tracks["acc"].times
    np.testing.assert_allclose(times, np.where(files.TIMES < 1.0, files.TIMES, files.TIMES + 4.0), atol=1e-6)
    assert reading.notes == ("paused 1 times, 4.0 s in all: restored as gaps",)


def test_one_csv_has_no_wall_clock_and_others_are_refused(files: ModuleType, tmp_path: Path) -> None:
    path = files.phyphox(tmp_path, "csv")
    assert Phyphox().recognises(path) is not None
    assert Phyphox().read(path).start_utc is None
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(512))
    with pytest.raises(RecordingError, match="old Excel format is not read"):
        Phyphox().read(tmp_path / "old.xls")
    path.write_text("Time (s),Pressure (hPa)\n0,1000\n1,1001\n")
    with pytest.raises(RecordingError, match="no columns of acceleration or gyroscope"):
        Phyphox().read(path)
