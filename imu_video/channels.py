"""Names of channels: their form and the sensor triads among them; units of the canonical six are in types.py.

A name is a sensor and, for an axis of a triad, ``_x``, ``_y`` or ``_z``; parts before a dot say where it is worn:
``acc_x``, ``torso.mag_z``, ``emg_1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
LONGEST_NAME = 64
AXES = ("x", "y", "z")


def name_fault(names: Iterable[object]) -> str | None:
    """What is wrong with names of channels: none, one twice, or one of another form; None if they are valid.

    Example:
        >>> name_fault(["torso.acc_x", "emg_1"]), name_fault(["acc x"])
        (None, "'acc x' is not a channel name: letters, digits, '_' and '.', at most 64, starting with a letter")
    """
    listed = list(names)
    if not listed:
        return "there is no channel"
    for name in listed:
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            form = f"letters, digits, '_' and '.', at most {LONGEST_NAME}, starting with a letter"
            return f"{str(name)[:LONGEST_NAME]!r} is not a channel name: {form}"
        if listed.count(name) > 1:
            return f"{name!r} is listed twice"
    return None


def sensor_of(channel: str) -> str:
    """The sensor of a channel: its name without the axis.

    Example:
        >>> sensor_of("torso.acc_x"), sensor_of("emg_1")
        ('torso.acc', 'emg_1')
    """
    return channel[:-2] if channel[-2:] in ("_x", "_y", "_z") else channel


def triads(channels: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Sensors with all three axes, in order of their first channel: name -> rows of x, y and z.

    Example:
        >>> triads(["emg_1", "chest.acc_x", "chest.acc_y", "chest.acc_z", "gyr_x"])
        {'chest.acc': (1, 2, 3)}
    """
    rows = {name: i for i, name in enumerate(channels)}
    found = {}
    for sensor in dict.fromkeys(map(sensor_of, channels)):
        axes = tuple(rows[f"{sensor}_{axis}"] for axis in AXES if f"{sensor}_{axis}" in rows)
        if len(axes) == 3:
            found[sensor] = axes
    return found
