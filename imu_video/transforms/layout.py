"""Which channels of a window belong together: sensors, triads and devices by their names; augments nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from imu_video.channels import sensor_of, triads
from imu_video.types import IMU_CHANNELS, channel_unit

Kind = Literal["acc", "gyr", "other"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Groups of the channels of a window.

    Args:
        sensors: rows of each sensor, in order of its first channel; a channel that is no axis is a sensor.
        owner: sensor of each channel.
        triads: for each device (``torso`` in ``torso.acc_x``) the rows of its sensors with three axes.
        kinds: of each channel by its unit: ``acc`` (m/s^2), ``gyr`` (rad/s) or ``other``.
        acc, gyr: rows of the channels that are named so.
        rates: rows of angular rates, by name or unit.
    """

    sensors: tuple[tuple[int, ...], ...]
    owner: tuple[int, ...]
    triads: tuple[tuple[tuple[int, ...], ...], ...]
    kinds: tuple[Kind, ...]
    acc: tuple[int, ...]
    gyr: tuple[int, ...]
    rates: tuple[int, ...]

    @classmethod
    def of(cls, channels: Mapping[str, str]) -> Layout:
        """The layout of named channels.

        Args:
            channels: name -> unit, in order.

        Example:
            >>> Layout.of({"torso.acc_x": "g", "torso.acc_y": "g", "torso.acc_z": "g", "emg_1": "mV"}).sensors
            ((0, 1, 2), (3,))
        """
        names, by_kind = list(channels), {"m/s^2": "acc", "rad/s": "gyr"}
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            groups.setdefault(sensor_of(name), []).append(row)
        devices: dict[str, list[tuple[int, ...]]] = {}
        for sensor, rows in triads(names).items():
            devices.setdefault(sensor.rpartition(".")[0], []).append(rows)
        word = [sensor_of(name).rpartition(".")[2] for name in names]
        numbers = list(groups)
        return cls(
            sensors=tuple(map(tuple, groups.values())),
            owner=tuple(numbers.index(sensor_of(name)) for name in names),
            triads=tuple(map(tuple, devices.values())),
            kinds=tuple(by_kind.get(unit, "other") for unit in channels.values()),  # type: ignore[misc]
            acc=tuple(row for row, own in enumerate(word) if own == "acc"),
            gyr=tuple(row for row, own in enumerate(word) if own == "gyr"),
            rates=tuple(
                row
                for row, (own, unit) in enumerate(zip(word, channels.values(), strict=True))
                if own == "gyr" or unit in ("rad/s", "deg/s")
            ),
        )


@lru_cache(maxsize=4)
def canonical_layout(channels: int) -> Layout:
    """Layout of the canonical six channels, or of an accelerometer alone (3)."""
    return Layout.of({name: channel_unit(name) for name in IMU_CHANNELS[:channels]})
