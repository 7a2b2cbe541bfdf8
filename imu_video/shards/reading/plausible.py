"""Plausible statistics of IMU channels, outside of which a run stops; recordings are checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imu_video.errors import ShardError
from imu_video.shards.reading.arrays import Statistics
from imu_video.shards.schema import COLUMN_FOLDER, Index


@dataclass(frozen=True)
class PlausibleRange:
    """Bounds of the statistics of one channel over a split.

    Args:
        unit: of the channel.
        mean: largest magnitude of the mean.
        sd: smallest and largest standard deviation.
        peak: largest magnitude of a value.
    """

    unit: str
    mean: float
    sd: tuple[float, float]
    peak: float


# The bounds are several times what public data sets reach (magnitude of the mean 9.5 m/s^2 and 0.2 rad/s, standard
# deviation 1 .. 10 m/s^2 and 0.2 .. 2.6 rad/s, peak 336 m/s^2 and 18 rad/s), so that they refuse damage and other units
# (mg, raw counts, deg/s) and no activity. The standard deviation of a sensor at rest is that of its noise.
RANGES = {
    "acc": PlausibleRange("m/s^2", 50.0, (1e-3, 200.0), 1e4),
    "gyr": PlausibleRange("rad/s", 20.0, (1e-4, 50.0), 500.0),
}
"""Of the channels of each sensor in SI units."""
NORMALISED = PlausibleRange("1", 10.0, (1e-4, 100.0), 1e4)
"""Of every channel of recordings that were standardised, which have mean 0 and standard deviation 1 as a whole."""


def check_signals(statistics: Mapping[str, Statistics], index: Index, split: str) -> None:
    """Check the statistics of the channels of a split.

    A sensor without a measured value is accepted. One axis may be constant, because devices with fewer axes exist; a
    sensor all of whose axes are constant measured nothing and is to be left out as NaN.

    Args:
        statistics: of each channel, ``<placement>.<channel>``.
        index: of the data folder.
        split: name of the split.

    Raises:
        ShardError: the first channel outside of its range; the message has folder, channel, value and range.
    """
    fault = next(iter(faults(statistics, index.normalised)), None)
    if fault is not None:
        columns = index.root / COLUMN_FOLDER / split
        raise ShardError(
            f"{index.root}: split {split!r}: {fault}",
            hint=f"delete {columns}; the next command writes it again from the shards. If the error remains, correct "
            "the unit that the recordings declare, or leave the sensor out, and build the folder again",
        )


def faults(statistics: Mapping[str, Statistics], normalised: str = "none") -> list[str]:
    """Channels whose statistics are outside of their range: value seen and range expected.

    Args:
        statistics: of each channel, ``<placement>.<channel>``.
        normalised: as in the index.

    Example:
        >>> still = Statistics(min=9.7, max=9.9, mean=9.8, sd=0.02, finite=100, non_finite=0)
        >>> faults({"waist.acc_z": still}), faults({"waist.acc_z": still.model_copy(update={"max": 1e38})})
        ([], ['waist.acc_z: largest magnitude 1e+38 m/s^2, expected at most 10000'])
    """
    found = []
    constant: dict[str, list[bool]] = {}
    for name, one in statistics.items():
        placement, _, channel = name.rpartition(".")
        sensor = channel.partition("_")[0]
        limits = NORMALISED if normalised != "none" else RANGES[sensor]
        if one.mean is None or one.sd is None or one.min is None or one.max is None:
            continue
        unit = "" if limits.unit == "1" else f" {limits.unit}"
        peak = max(abs(one.min), abs(one.max))
        for what, value, largest in (
            ("largest magnitude", peak, limits.peak),
            ("standard deviation", one.sd, limits.sd[1]),
            ("magnitude of the mean", abs(one.mean), limits.mean),
        ):
            if not value <= largest:
                found.append(f"{name}: {what} {value:.4g}{unit}, expected at most {largest:g}")
        constant.setdefault(f"{placement}.{sensor}", []).append(one.sd < limits.sd[0])
    for name, axes in constant.items():
        limits = NORMALISED if normalised != "none" else RANGES[name.rpartition(".")[2]]
        if all(axes):
            found.append(f"{name}: all {len(axes)} channels are constant (standard deviations below {limits.sd[0]:g})")
    return found
