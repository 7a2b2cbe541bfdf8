"""The meaning of the columns of an IMU table, from their names and values, each with its evidence; no files are found.

Values that allow two interpretations are not decided: the guess is then None, and the owner fills it in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from imu_video.readers.tables import PER_SECOND, iso_seconds
from imu_video.recordings.units import UNITS, gravity_evidence, turn_evidence
from imu_video.types import GRAVITY

RATES_HZ = (5.0, 1000.0)
"""Sampling rates that are taken as likely; a rate outside never serves as evidence for a unit of time."""
EPOCH_S = (6.3e8, 4.1e9)
"""Plausible moments of a recording as POSIX seconds: 1990 to 2100."""

LABEL = re.compile(r"^(label|activity|class|annotation|event|behaviou?r|task)s?$", re.IGNORECASE)
"""Names of a column with labels."""
_TIME = re.compile(r"^(t|ts)$|time|zeit|temps|tiempo|epoch|seconds|elapsed|\bdate\b|^ms$|_ms$|clock", re.IGNORECASE)
_DATE = re.compile(r"(19|20|21)\d\d-\d\d-\d\d[T ]\d\d:\d\d")
_AXIS = re.compile(r"(?<![a-z])[xyz](?![a-z])|(?<=[a-z\d])[xyz](?=$|[^a-z])", re.IGNORECASE)
_UNIT_WORDS = (
    ("gyr", "deg/s", r"deg|dps|°"),
    ("gyr", "rad/s", r"rad"),
    ("acc", "m/s^2", r"m/s|m_s|ms-2|ms2|mps2"),
    ("acc", "mg", r"\(mg\)|\[mg\]|_mg\b"),
    ("acc", "g", r"\(g\)|\[g\]|_g\b"),
)
_TURNED, _SURE = 0.6, 0.7  # radians by which gravity must have turned, and correlation, to compare a gyroscope with it
_NEAR = (0.8, 1.25)  # of a unit's own size


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One value of the declaration: the proposed value (None if only the owner knows it) and the evidence."""

    value: str | None
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The proposal for one kind of table.

    Args:
        time: name of the time column; its value is None without one.
        time_unit: unit of the times.
        rate_hz: rate in Hz by that unit; 0 if unknown.
        channels: channel -> column.
        units: ``acc`` and ``gyr`` -> unit.
        label: column with a label per row; its value is None without one.
        gravity: whether the acceleration includes gravity: ``included``, ``removed``, or None if unknown.
        unused: columns that are not read.
    """

    time: Guess
    time_unit: Guess
    rate_hz: float = 0.0
    channels: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Guess] = field(default_factory=dict)
    label: Guess = Guess(value=None, evidence="")
    gravity: Guess | None = None
    unused: tuple[str, ...] = ()


def propose_columns(
    names: Sequence[str], values: Mapping[str, np.ndarray], texts: Mapping[str, Sequence[str]]
) -> Columns:
    """The meaning of the columns of a table, as far as names and values determine it.

    Args:
        names: all columns, in their order.
        values: name -> (rows,) float64, NaN where a field is not a number.
        texts: name -> the first texts of the column, for times written as text.

    Example:
        >>> t = np.arange(500) / 50
        >>> acc = {"ax": 0.1 * np.sin(9 * t), "ay": np.ones(500), "az": 0.1 * np.cos(9 * t)}
        >>> found = propose_columns(["t", *acc], {"t": t * 1000, **acc}, {})
        >>> found.time_unit.value, found.rate_hz, found.units["acc"].value
        ('ms', 50.0, 'g')
    """
    time, unit, rate = _time(names, values, texts)
    found = triples([name for name in names if name != time.value])
    seconds = None
    if time.value is not None and unit.value in PER_SECOND:
        seconds = values[time.value] / PER_SECOND[unit.value]
    elif time.value is not None and unit.value == "iso8601" and time.value in texts:
        seconds = iso_seconds(texts[time.value])
    clock = _clock(seconds, len(next(iter(values.values()), [])), rate)
    acc = _pick(found, values, clock, "acc")
    gyr = _pick({k: v for k, v in found.items() if k != acc}, values, clock, "gyr")
    channels: dict[str, str] = {}
    units: dict[str, Guess] = {}
    gravity: Guess | None = None
    if acc is not None:
        channels |= {f"acc_{axis}": name for axis, name in zip("xyz", found[acc], strict=True)}
        units["acc"], gravity = _acc_unit(found[acc], _stack(values, found[acc]), clock)
    if gyr is not None:
        channels |= {f"gyr_{axis}": name for axis, name in zip("xyz", found[gyr], strict=True)}
        reference = _stack(values, found[acc]) if acc is not None else None
        included = gravity is not None and gravity.value == "included"
        units["gyr"] = _gyr_unit(
            found[gyr], _stack(values, found[gyr]), clock, reference if included and seconds is not None else None
        )
    label = _label(names, texts, {time.value, *channels.values()})
    used = {time.value, label.value, *channels.values()}
    return Columns(
        time=time,
        time_unit=unit,
        rate_hz=rate,
        channels=channels,
        units=units,
        label=label,
        gravity=gravity,
        unused=tuple(name for name in names if name not in used),
    )


def _label(names: Sequence[str], texts: Mapping[str, Sequence[str]], used: Collection[str | None]) -> Guess:
    """A column that names an activity in runs of rows."""
    for name in names:
        seen = [text for text in texts.get(name, ()) if text]
        if name not in used and LABEL.match(name) and 0 < len(set(seen)) <= max(50, len(seen) // 20):
            some = ", ".join(repr(text) for text in list(dict.fromkeys(seen))[:3])
            return Guess(value=name, evidence=f"its name, and {len(set(seen))} different texts: {some}")
    return Guess(value=None, evidence="")


# ---------------------------------------------------------------------------------------------------------------- time


def _time(
    names: Sequence[str], values: Mapping[str, np.ndarray], texts: Mapping[str, Sequence[str]]
) -> tuple[Guess, Guess, float]:
    likely = [name for name in names if _TIME.search(name)]
    counted: tuple[Guess, Guess, float] | None = None
    for name in likely:
        times = values[name]
        steps = np.diff(times[np.isfinite(times)])
        if len(steps) < 2 or np.median(steps) <= 0 or np.mean(steps >= 0) < 0.9:
            continue
        unit, rate, dated = _time_unit(name, times, float(np.median(steps)))
        found = (Guess(value=name, evidence="its name, and its values increase"), unit, rate)
        if dated:
            return found
        counted = counted or found
    for name in [*likely, *(n for n in names if n not in likely)]:
        first = list(texts.get(name, ()))[:50]
        if first and all(_DATE.match(text) for text in first):
            rate = _rate(iso_seconds(first))
            evidence = f"texts such as {first[0]!r}"
            return Guess(value=name, evidence=evidence), Guess(value="iso8601", evidence=evidence), rate
    if counted is not None:
        return counted
    return Guess(value=None, evidence="no column of increasing times"), Guess(value=None, evidence=""), 0.0


def _rate(seconds: np.ndarray) -> float:
    steps = np.diff(seconds)
    middle = float(np.median(steps)) if len(steps) else 0.0
    mean = float(np.mean(steps)) if len(steps) else 0.0
    step = middle if middle > 0 else mean
    return float(f"{1 / step:.4g}") if step > 0 else 0.0


def _time_unit(name: str, times: np.ndarray, step: float) -> tuple[Guess, float, bool]:
    """The unit of a time column, its rate, and whether it counts from 1970."""
    fits = {unit: per / step for unit, per in PER_SECOND.items() if RATES_HZ[0] <= per / step <= RATES_HZ[1]}
    said = ", ".join(f"{unit} ({rate:.4g} Hz)" for unit, rate in fits.items())
    middle = float(np.nanmedian(times))
    since_1970 = [unit for unit in fits if EPOCH_S[0] <= middle / PER_SECOND[unit] <= EPOCH_S[1]]
    if len(since_1970) == 1:
        unit = since_1970[0]
        year = np.datetime64(int(middle / PER_SECOND[unit]), "s").astype("datetime64[Y]")
        since = f"{fits[unit]:.4g} Hz, counted from 1970: the year {year}"
        return Guess(value=unit, evidence=since), _short(fits[unit]), True
    if step == 1.0 and np.all(np.diff(times[np.isfinite(times)]) == 1.0):
        return Guess(value=None, evidence=f"{name!r} counts by 1: a sample number, or {said}"), 0.0, False
    if len(fits) == 1:
        unit = next(iter(fits))
        only = f"{fits[unit]:.4g} Hz; no other unit gives a likely rate"
        return Guess(value=unit, evidence=only), _short(fits[unit]), False
    return Guess(value=None, evidence=f"its median step is {step:.6g}, which fits {said or 'no unit'}"), 0.0, False


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _clock(seconds: np.ndarray | None, rows: int, rate: float) -> np.ndarray:
    """Increasing seconds of every row for the evidence below; an assumed 50 Hz without times."""
    if seconds is not None and len(seconds) == rows and np.isfinite(seconds).sum() > 2:
        known = np.isfinite(seconds)
        filled = np.interp(np.arange(rows), np.flatnonzero(known), seconds[known])
        return np.asarray(np.maximum.accumulate(filled) - filled[0])
    return np.arange(rows) / (rate or 50.0)


# ------------------------------------------------------------------------------------------------------------ channels


def triples(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Groups of three columns whose names differ in the axis alone: the common part -> its columns x, y, z.

    Example:
        >>> triples(["t", "acc_x", "acc_y", "acc_z", "Gx", "Gy", "Gz", "label"])
        {'acc_*': ('acc_x', 'acc_y', 'acc_z'), 'G*': ('Gx', 'Gy', 'Gz')}
    """
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        for match in _AXIS.finditer(name):
            groups.setdefault(f"{name[: match.start()]}*{name[match.end() :]}", {})[match[0].lower()] = name
    return {key: (g["x"], g["y"], g["z"]) for key, g in groups.items() if set(g) == {"x", "y", "z"}}


def _stack(values: Mapping[str, np.ndarray], columns: Sequence[str]) -> np.ndarray:
    return np.stack([values[name] for name in columns])


def _pick(
    triples: Mapping[str, tuple[str, str, str]], values: Mapping[str, np.ndarray], clock: np.ndarray, kind: str
) -> str | None:
    """The group of a sensor: by its name first, then by the size of gravity."""
    scores = {key: _score(key, _stack(values, columns), clock, kind) for key, columns in triples.items()}
    best = max(scores, key=lambda key: scores[key], default=None)
    return best if best is not None and scores[best] > 0 else None


def _score(key: str, xyz: np.ndarray, clock: np.ndarray, kind: str) -> int:
    name = re.sub(r"\(.*?\)|\[.*?\]", "", key).lower()
    if re.search(r"mag|quat|euler|ori|pos|vel|grav|^b\*", name) or not np.isfinite(xyz).any():
        return 0
    rotation = bool(re.search(r"gyr|rot|omega|angular|^w\*|^g[_ ]?\*", name))
    if kind == "gyr":
        return 2 if rotation else 0
    linear = bool(re.search(r"lin|user|free|dyn", name))
    if re.search(r"acc|beschl", name) or re.match(r"a[_ ]?\*", name):
        return 2 if linear else 4
    found = gravity_evidence(clock, xyz)
    held = found is not None and found.spread < 0.25 and bool(_fitting(found.level))
    return 3 if held and not linear else 1 if held else 0


def _fitting(level: float) -> list[str]:
    return [unit for unit, factor in UNITS["acc"].items() if _NEAR[0] <= level * factor / GRAVITY <= _NEAR[1]]


def _named_unit(columns: Sequence[str], kind: str) -> str | None:
    for of, unit, words in _UNIT_WORDS:
        if of == kind and all(re.search(words, name, re.IGNORECASE) for name in columns):
            return unit
    return None


def _acc_unit(columns: Sequence[str], acc: np.ndarray, clock: np.ndarray) -> tuple[Guess, Guess]:
    named = _named_unit(columns, "acc")
    found = gravity_evidence(clock, acc)
    if found is None:
        few = "fewer than three seconds of samples: its size is no evidence"
        return Guess(value=named, evidence=f"its name; {few}" if named else few), Guess(value=None, evidence=few)
    fits = _fitting(found.level) if found.level > found.motion / 3 else []
    size = f"its mean over a second is {found.level:.4g}"
    if fits:
        unit = fits[0]
        said = f"{size}: gravity is {found.level * UNITS['acc'][unit] / GRAVITY:.3g} g in {unit}"
        if named is not None and named != unit:
            return Guess(value=None, evidence=f"{said}, but the column names contain {named}"), Guess(
                value="included", evidence=said
            )
        return Guess(value=unit, evidence=said), Guess(value="included", evidence=said)
    if found.level < found.motion / 3:
        said = f"{size} beside motion of {found.motion:.4g}: gravity has been removed"
        return Guess(
            value=named, evidence=f"its name; {said}" if named else f"{said}, so that the unit is not determined"
        ), Guess(value="removed", evidence=said)
    power = 2.0 ** round(np.log2(found.level))
    per_g = power if abs(found.level / power - 1) < 0.08 else found.level
    counts = f"raw counts? `acc: g` with `scale: {{acc: {1 / per_g:.4g}}}` would make it 1 g"
    return Guess(value=None, evidence=f"{size}, which is gravity in no known unit: {counts}"), Guess(
        value=None, evidence=size
    )


def _gyr_unit(columns: Sequence[str], gyr: np.ndarray, clock: np.ndarray, acc: np.ndarray | None) -> Guess:
    named = _named_unit(columns, "gyr")
    turn = None if acc is None else turn_evidence(clock, acc, gyr)
    unit, said = None, "gravity rotates too little for a comparison"
    if turn is not None and turn.correlation >= _SURE and turn.turned >= _TURNED:
        fits = [u for u, f in UNITS["gyr"].items() if 0.5 <= turn.factor / f <= 2.0]
        unit = fits[0] if fits else None
        said = (
            f"gravity rotates {1 / turn.factor:.3g} times slower than its numbers, correlation {turn.correlation:.2f}"
        )
    if unit is None and turn is None:
        finite = np.abs(gyr[np.isfinite(gyr)])
        high = float(np.quantile(finite, 0.999)) if len(finite) else 0.0
        if high > 60.0 and np.array_equal(finite, np.round(finite)):
            said = f"it reaches {high:.4g} in whole numbers: deg/s or raw counts"
        elif high > 60.0:
            unit, said = (
                "deg/s",
                f"it reaches {high:.4g}, too fast for rad/s, and has fractions, so these are not raw counts",
            )
    if named is not None and unit is not None and named != unit:
        return Guess(value=None, evidence=f"{said}: {unit}, but the column names contain {named}")
    if unit is not None:
        return Guess(value=unit, evidence=said)
    if named is not None:
        return Guess(value=named, evidence=f"its name; {said}")
    return Guess(value=None, evidence=said if "raw counts" in said else f"{said}: rad/s and deg/s both fit")
