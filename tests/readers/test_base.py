"""What a reading holds, and how devices are chosen from it."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reading, Track, in_order


def device(name: str) -> DeviceReading:
    track = Track(times=np.arange(3.0), values=np.ones((3, 3)), unit="g")
    return DeviceReading(name=name, tracks={"acc": track})


def test_rows_are_put_in_order_and_counted() -> None:
    rows, faults = in_order(np.array([0.0, 1.0, 3.0, 2.0, 2.0, np.nan, 4.0]))
    assert rows.tolist() == [0, 1, 3, 2, 6]
    assert faults == 3, "one step back, one repeat, one without time"
    assert in_order(np.arange(5.0))[1] == 0


def test_the_only_device_needs_no_name_and_one_of_several_does() -> None:
    assert Reading(devices=(device("phone"),)).device(source="x.zip").name == "phone"
    both = Reading(devices=(device("phone"), device("watch")))
    assert both.device("watch", source="x.zip").name == "watch"
    with pytest.raises(ConfigError, match=r"x\.zip: contains the devices phone, watch") as error:
        both.device(source="x.zip")
    assert "device: phone" in (error.value.hint or "")
    with pytest.raises(ConfigError, match=r"no device 'wach'; did you mean 'watch'"):
        both.device("wach", source="x.zip")


def test_devices_have_names_of_their_own() -> None:
    with pytest.raises(RecordingError, match="distinct names"):
        Reading(devices=(device("phone"), device("phone")))
    with pytest.raises(RecordingError, match="distinct names"):
        Reading(devices=())
