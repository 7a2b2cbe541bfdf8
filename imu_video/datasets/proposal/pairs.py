"""Tables of accelerometer and gyroscope in separate files that form one device, recognised by a word in their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from imu_video.datasets.folder.patterns import Template
from imu_video.datasets.proposal.columns import Columns, propose_columns, triples
from imu_video.datasets.proposal.files import ImuFile, read_columns

_WORD = re.compile(
    r"(?P<before>^|[_\-. ])(?P<word>(?P<acc>acc(?:el(?:erometer|eration)?)?)|gyr(?:o(?:scope)?)?)(?P<after>$|[_\-. ])",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two files of one device.

    Args:
        acc, gyr: the files.
        plain: their path without the word that distinguishes them.
    """

    acc: ImuFile
    gyr: ImuFile
    plain: str


def pairs_of(files: Sequence[ImuFile]) -> list[Pair]:
    """Tables whose paths differ in the word for their sensor alone, in the order of their paths.

    Example:
        >>> both = [ImuFile(path=f"s1/walk_{w}.csv", kind="columns t, x, y, z", evidence="") for w in ("acc", "gyro")]
        >>> [(pair.plain, pair.gyr.path) for pair in pairs_of(both)]
        [('s1/walk.csv', 's1/walk_gyro.csv')]
    """
    found: dict[str, dict[str, ImuFile]] = {}
    for one in files:
        own = _plain(one.path) if one.is_table else None
        if own is not None:
            found.setdefault(own[1], {}).setdefault(own[0], one)
    return [Pair(plain=p, acc=f["acc"], gyr=f["gyr"]) for p, f in sorted(found.items()) if len(f) == 2]


def _plain(path: str) -> tuple[str, str] | None:
    """Sensor, and path without its word; ``s1/walk/acc.csv`` becomes ``s1/walk.csv``."""
    pure = PurePosixPath(path)
    match = _WORD.search(pure.stem)
    if match is None:
        return None
    joint = match["before"] if match["before"] and match["after"] else ""
    stem = pure.stem[: match.start()] + joint + pure.stem[match.end() :]
    sensor = "acc" if match["acc"] else "gyr"
    if stem:
        return sensor, str(pure.with_name(stem + pure.suffix))
    return (sensor, f"{pure.parent}{pure.suffix}") if len(pure.parts) > 1 else None


def pattern_of(pattern: str, originals: Mapping[str, str]) -> str | None:
    """The pattern of the files of one sensor, from that of their plain paths; None if none reads all of them.

    Args:
        pattern: reads the plain paths.
        originals: plain path -> path.

    Example:
        >>> pattern_of("{subject}/{recording}.csv", {"s1/walk.csv": "s1/walk_acc.csv"})
        '{subject}/{recording}_acc.csv'
    """
    stem, dot, ending = pattern.rpartition(".")
    first = next(iter(originals.values()))
    match = _WORD.search(PurePosixPath(first).stem)
    if not dot or match is None:
        return None
    folder, slash, last = stem.rpartition("/")
    word = match["word"]
    for joint in (match["before"], match["after"]):
        for candidate in (
            f"{stem}{joint}{word}.{ending}",
            f"{folder}{slash}{word}{joint}{last}.{ending}",
            f"{stem}/{word}.{ending}",
        ):
            template, plain = Template(candidate), Template(pattern)
            if all(template.readings(path) == plain.readings(short) for short, path in originals.items()):
                return candidate
    return None


def read_pair(root: Path, pair: Pair) -> tuple[Columns, dict[str, str], Mapping[str, np.ndarray]]:
    """The meaning of the columns of a pair, the format options, and the values of the accelerometer's file.

    The gyroscope is interpolated at the times of the accelerometer, for the comparison with the rotation of gravity.
    """
    acc, acc_texts, options = read_columns(root / pair.acc.path)
    gyr, _, _ = read_columns(root / pair.gyr.path)
    one, two = propose_columns(list(acc), acc, acc_texts), propose_columns(list(gyr), gyr, {})
    time = one.time.value
    joined: dict[str, np.ndarray] = {} if time is None else {time: acc[time]}
    names: dict[str, str] = {}
    rows = len(next(iter(acc.values())))
    for sensor, values, found in (("acc", acc, one), ("gyr", gyr, two)):
        group = _axes(list(values), found)
        for axis, column in zip("xyz", group, strict=False):
            names[f"{sensor}_{axis}"] = column
            series = values[column]
            if sensor == "gyr":
                at, own = _moments(acc, one, rows), _moments(gyr, two, len(series))
                known = np.isfinite(own) & np.isfinite(series)
                series = np.interp(at, own[known], series[known]) if known.sum() > 1 else np.full(rows, np.nan)
            joined[f"{sensor}_{axis}"] = series
    both = propose_columns(list(joined), joined, acc_texts)
    renamed = {channel: names[channel] for channel in both.channels if channel in names}
    same = time is None or two.time.value == time
    unit = one.time_unit if same else type(one.time_unit)(value=None, evidence=f"the other file has {two.time.value!r}")
    columns = Columns(
        time=one.time,
        time_unit=unit,
        rate_hz=one.rate_hz,
        channels=renamed,
        units=both.units,
        gravity=both.gravity,
        unused=tuple(n for n in acc if n not in {time, *renamed.values()}),
    )
    return columns, options, acc


def _axes(names: list[str], found: Columns) -> tuple[str, ...]:
    groups = triples([name for name in names if name != found.time.value])
    return next(iter(groups.values()), ())


def _moments(values: Mapping[str, np.ndarray], found: Columns, rows: int) -> np.ndarray:
    name = found.time.value
    if name is None or not np.isfinite(values[name]).any():
        return np.arange(rows, dtype=np.float64)
    return values[name]
