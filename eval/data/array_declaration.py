"""The content of an `arrays.yaml`: what the axes, channels and columns of labelled arrays are; arrays.py reads them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from imu_video.channels import name_fault
from imu_video.config import Config, find, merge, shipped
from imu_video.errors import DataError, nearest
from imu_video.runtime import documents
from imu_video.types import IMU_CHANNELS, stored_unit

DECLARATION = "arrays.yaml"
PRESETS = Path("configs/arrays")
"""Folder of the shipped declarations, which the key ``preset`` names."""
WORD = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
RESERVED = ("dataset", "recording", "split")
"""Facts that the reader sets; no column and no view may have their names."""
HINT = "docs/guides/arrays.md describes the keys"

Text = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v), Field(min_length=1, max_length=200)]
"""A text that YAML may read as a number, such as the unit 1."""
Word = Annotated[str, Field(pattern=WORD, max_length=80)]
Fact = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.npy$", max_length=200)]


class View(Config):
    """Groups of channels that are read as windows of their own: body positions, or kinds of sensors.

    Args:
        fact: fact that names the group of a window, e.g. ``placement`` or ``device``.
        channels: names of a group's channels, the same for every group.
        slices: value of the fact -> channels of the array; ``*`` and ``?`` stand for any characters, as in
            ``torso.*``, and matches are in the order of the array.
    """

    fact: Fact
    channels: list[str]
    slices: dict[Word, list[str]] = Field(min_length=1)

    @field_validator("channels")
    @classmethod
    def _names(cls, channels: list[str]) -> list[str]:
        if fault := name_fault(channels):
            raise ValueError(fault)
        return channels

    def rows(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Value of the fact -> rows of its channels.

        Raises:
            ValueError: a pattern without a match, a channel twice in a group, or another number of channels.
        """
        out = {}
        for value, patterns in self.slices.items():
            found: list[int] = []
            for pattern in patterns:
                matches = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
                if not matches:
                    raise ValueError(f"slice {value!r}: no channel {pattern!r}{nearest(pattern, names)}")
                found += matches
            if len(set(found)) != len(found) or len(found) != len(self.channels):
                raise ValueError(
                    f"slice {value!r} has the channels {[names[i] for i in found]}, expected {len(self.channels)} "
                    f"distinct ones: {', '.join(self.channels)}"
                )
            out[value] = found
        return out


class ArrayDeclaration(Config):
    """What an array folder contains; docs/guides/arrays.md has examples.

    Args:
        dataset: name of the dataset; subjects are compared within one dataset.
        x, y: names of the files in the folder.
        axes: order of the axes of x: windows N, channels C, samples T; ``N C 1 T`` is HAROOD's, whose files may also
            lack the axis of length 1.
        channels: name -> unit, in the order of the axis C; ``1`` where the unit is unknown.
        rate_hz: samples per second.
        columns: meaning of the columns of y: ``activity``, ``subject``, ``placement``, ``session``, or any tag.
        classes: names of the activities 0, 1, 2 ...
        values: column -> names of its numbers 0, 1, 2 ...; without it a number is its own name.
        facts: facts with one value for all windows, e.g. ``{placement: waist}``.
        gravity: whether accelerations include gravity.
        normalised: ``none``: values have their units; ``recording``: standardised over each recording; ``unknown``:
            prepared by an unknown method, so that acceleration and angular rate have no unit either.
        missing: whether NaN marks missing samples; without it NaN is refused.
        splits: split -> subjects; without it every subject is in ``test``.
        views: name -> groups of channels, see `View`.
        join: column of y that numbers body positions, where x has the channels of one position in each row: the rows of
            a window are joined to all channels (`eval.data.array_join`). Arrays that have all channels stay as they
            are.
        citation, licence, url: of the dataset.
    """

    dataset: Word
    x: FileName = "x.npy"
    y: FileName = "y.npy"
    axes: Literal["N C 1 T", "N C T", "N T C"] = "N C 1 T"
    channels: dict[str, Text]
    rate_hz: float = Field(gt=0, le=1e6)
    columns: list[Fact] = Field(min_length=1)
    classes: list[Text] = Field(min_length=2)
    values: dict[str, list[Word]] = Field(default_factory=dict)
    facts: dict[Fact, Text] = Field(default_factory=dict)
    gravity: Literal["included", "removed", "unknown"]
    normalised: Literal["none", "recording", "unknown"]
    missing: bool = False
    splits: dict[Word, list[str]] = Field(default_factory=dict)
    views: dict[Word, View] = Field(default_factory=dict)
    join: Fact | None = None
    citation: str | None = None
    licence: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _check(self) -> ArrayDeclaration:
        if fault := name_fault(self.channels):
            raise ValueError(f"channels: {fault}")
        for channel in IMU_CHANNELS:
            unit = stored_unit(channel, self.normalised)
            if self.channels.get(channel, unit) != unit:
                raise ValueError(
                    f"channel {channel!r} has the unit {self.channels[channel]!r}, expected {unit!r} with normalised: "
                    f"{self.normalised}; convert the values, or give the channel another name"
                )
        for what, names in (("columns", self.columns), ("classes", self.classes)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must be distinct, got {names}")
        if "activity" not in self.columns:
            raise ValueError(f"columns must contain 'activity', got {self.columns}")
        if self.join is not None and (self.join not in self.columns or self.join in ("activity", "subject")):
            raise ValueError(f"join: expected a column of positions out of {self.columns}, got {self.join!r}")
        taken = [*RESERVED, "activity"]
        for what, facts in (
            ("columns", [c for c in self.columns if c != "activity"]),
            ("facts", self.facts),
            ("views", [view.fact for view in self.views.values()]),
        ):
            for fact in facts:
                if fact in taken:
                    raise ValueError(f"{what}: a fact {fact!r} exists already; use another name")
            # Two views may have the same fact, because one is read at a time.
            taken += [] if what == "views" else list(facts)
        for column, names in self.values.items():
            if column not in self.columns or column == "activity" or len(set(names)) != len(names):
                raise ValueError(f"values.{column}: expected distinct names of a column of {self.columns}, got {names}")
        for name, view in self.views.items():
            try:
                view.rows(list(self.channels))
            except ValueError as error:
                raise ValueError(f"views.{name}: {error}") from error
        listed = [subject for subjects in self.splits.values() for subject in subjects]
        twice = sorted({s for s in listed if listed.count(s) > 1})
        if twice:
            raise ValueError(f"splits: subjects {twice} are listed twice")
        return self


def read_declaration(file: Path) -> ArrayDeclaration:
    """Read an `arrays.yaml`; with the key ``preset`` its other keys change a shipped declaration.

    Args:
        file: the declaration.

    Raises:
        DataError: not YAML, an unknown preset or key, or a value that is not valid.
    """
    return documents.validate(ArrayDeclaration, _content(file), str(file), error=DataError, hint=HINT)


def preset_names() -> list[str]:
    """Names of the shipped declarations.

    Example:
        >>> "harood_dsads" in preset_names()
        True
    """
    return sorted(path.stem for path in (shipped() / PRESETS.name).glob("*.yaml"))


def _content(file: Path) -> dict[str, Any]:
    content = documents.read_yaml(file, error=DataError, hint=HINT)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a mapping of keys, got {type(content).__name__}", hint=HINT)
    preset = content.pop("preset", None)
    if preset is None:
        return content
    names = preset_names()
    if preset not in names:
        raise DataError(
            f"{file}: key 'preset': no shipped declaration {str(preset)[:80]!r}{nearest(str(preset), names)}",
            hint=f"one of: {', '.join(names)}",
        )
    return merge(documents.read_yaml(find(PRESETS / f"{preset}.yaml"), error=DataError), content)
