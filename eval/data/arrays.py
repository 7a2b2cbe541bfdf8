"""Labelled windows of an array folder: `x.npy`, `y.npy` and their declaration; array_declaration.py has its keys.

HAROOD and others release windows that were cut and labelled before. Such arrays have any number of named channels. They
state neither recordings nor times: every window of a subject is in one unknown recording, and the order of the rows
takes the place of time (see `LabelledWindows.timed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from eval.data.array_declaration import DECLARATION, HINT, ArrayDeclaration, View, preset_names, read_declaration
from eval.data.array_join import join_rows
from eval.data.array_values import check_values
from eval.data.windows import LabelledWindows
from imu_video.config import digest
from imu_video.errors import ConfigError, DataError, nearest
from imu_video.runtime.files import file_sha256

UNKNOWN = "unknown"
"""Subject and placement of windows of which they are not known."""
LARGEST_CODE = 10**6


def is_array_folder(path: Path) -> bool:
    """Whether a path is an array folder or its declaration, and not a data folder from `imu-video build`."""
    folder = path.parent if path.name == DECLARATION else path
    return (folder / DECLARATION).is_file() or (
        folder.is_dir() and any(folder.glob("*.npy")) and not (folder / "index.json").exists()
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayFolder:
    """An array folder, opened and checked.

    Args:
        root: the folder.
        declaration: its declaration.
        view: name of the declared view that is read; None for all channels of each window.
        x: (N, C, T) windows in the type of the file, not copied.
        y: (N, columns) int64.
    """

    root: Path
    declaration: ArrayDeclaration
    view: str | None
    x: np.ndarray
    y: np.ndarray

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.declaration.dataset

    @cached_property
    def digest(self) -> str:
        """Identity of the windows: bytes of both files, declaration and view."""
        declared = self.declaration
        files = [file_sha256(self.root / name) for name in (declared.x, declared.y)]
        return digest([*files, declared.model_dump(mode="json"), self.view])

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.declaration.splits) or ("test",)

    @property
    def placements(self) -> tuple[str, ...]:
        """Names of the placements, sorted."""
        return tuple(np.unique(self._facts["placement"]).tolist())

    @property
    def tags(self) -> dict[str, list[str]]:
        """Values of every further fact."""
        built_in = ("placement", "recording", "session", "split", "subject")
        return {name: np.unique(c).tolist() for name, c in self._facts.items() if name not in built_in}

    @property
    def _view(self) -> View | None:
        return None if self.view is None else self.declaration.views[self.view]

    @cached_property
    def _facts(self) -> dict[str, np.ndarray]:
        """(N * S,) facts of every row, S = number of slices of the view."""
        declared, n = self.declaration, len(self.y)
        constant = {"placement": UNKNOWN, "session": "", "subject": UNKNOWN, **declared.facts}
        facts = {name: np.full(n, value) for name, value in constant.items()}
        for i, column in enumerate(declared.columns):
            if column != "activity":
                facts[column] = self._named(column, self.y[:, i])
        owner = {subject: split for split, subjects in declared.splits.items() for subject in subjects}
        facts["split"] = np.array([owner.get(s, "test") for s in facts["subject"].tolist()])
        # Recordings are unknown. One for all windows of a subject is the safe choice: two subjects share none, and two
        # windows of one subject may always be of the same.
        facts["recording"] = np.char.add("unknown_", facts["subject"])
        if (view := self._view) is None:
            return facts
        facts = {name: np.repeat(column, len(view.slices)) for name, column in facts.items()}
        return {**facts, view.fact: np.tile(np.array(list(view.slices)), n)}

    def _named(self, column: str, codes: np.ndarray) -> np.ndarray:
        names = self.declaration.values.get(column)
        if names is not None:
            return np.array(names)[codes]
        # Zeros in front, so that the order of the names is that of the numbers.
        letter, width = ("s", max(2, len(str(codes.max())))) if column == "subject" else ("", len(str(codes.max())))
        return np.array([f"{letter}{code:0{width}d}" for code in codes.tolist()])

    def windows(self, *, splits: Sequence[str], placements: Sequence[str] | None = None) -> LabelledWindows:
        """The labelled windows of some splits; one row per window, or per window and slice of the view.

        Raises:
            ConfigError: an unknown split or placement.
            DataError: no window in these splits.
        """
        for split in splits:
            if split not in self.splits:
                raise ConfigError(
                    f"{self.root}: split {split!r} is not in the data{nearest(split, self.splits)}",
                    hint=f"assign subjects to it under `splits` in {DECLARATION}; "
                    "without `splits` every subject is in `test`",
                )
        for placement in placements or ():
            if placement not in self.placements:
                raise ConfigError(f"placement {placement!r} is not in the data{nearest(placement, self.placements)}")
        facts, declared = self._facts, self.declaration
        keep = np.isin(facts["split"], list(splits))
        if placements is not None:
            keep &= np.isin(facts["placement"], list(placements))
        rows = np.flatnonzero(keep)
        if not len(rows):
            raise DataError(f"{self.root}: splits {list(splits)} have no window")
        channels, units, x = self._signals(rows)
        activity = self.y[:, declared.columns.index("activity")]
        slices = 1 if self._view is None else len(self._view.slices)
        sample = rows // slices
        present = np.unique(activity[sample])
        names = sorted(declared.classes[c] for c in present.tolist())
        number = np.array([names.index(c) if c in names else -1 for c in declared.classes])
        window_s = x.shape[2] / declared.rate_hz
        return LabelledWindows(
            x=x,
            labels=number[activity[sample]].astype(np.int64),
            classes=tuple(names),
            facts={name: column[rows] for name, column in facts.items()},
            # Neighbouring rows may be windows that overlap: half a window between them makes all checks assume it.
            start=sample * window_s / 2,
            sample=sample.astype(np.int64),
            dataset=declared.dataset,
            digest=self.digest,
            rate_hz=declared.rate_hz,
            window_s=window_s,
            channels=channels,
            units=units,
            gravity=declared.gravity,
            normalised=declared.normalised,
            timed=False,
        )

    def _signals(self, rows: np.ndarray) -> tuple[tuple[str, ...], dict[str, str], np.ndarray]:
        """Channels, their units, and windows (n, C, T) float32 of some rows; a whole float32 array is not copied."""
        declared, view = self.declaration, self._view
        if view is None:
            x = self.x if len(rows) == len(self.x) else self.x[rows]
            return tuple(declared.channels), dict(declared.channels), np.asarray(x, dtype=np.float32)
        names = list(declared.channels)
        groups = list(view.rows(names).values())
        units = {
            # Slices of different sensors have different units, and the common channel then has all of them.
            channel: " or ".join(dict.fromkeys(declared.channels[names[group[i]]] for group in groups))
            for i, channel in enumerate(view.channels)
        }
        x = np.empty((len(rows), len(view.channels), self.x.shape[2]), dtype=np.float32)
        for place, group in enumerate(groups):
            own = rows % len(groups) == place
            x[own] = self.x[rows[own] // len(groups)][:, group]
        return tuple(view.channels), units, x


def open_arrays(path: Path, *, view: str | None = None) -> ArrayFolder:
    """Open an array folder; arrays are memory-mapped, and pickled objects are never loaded.

    Args:
        path: the folder, or its `arrays.yaml`.
        view: name of a declared view; None for all channels of each window.

    Raises:
        DataError: a missing or invalid declaration, a damaged file, shapes that do not fit the declaration, codes
            without a name, or values that are infinite, constant or implausible in their unit.
        ConfigError: an unknown view.
    """
    root = path.parent if path.name == DECLARATION else path
    file = root / DECLARATION
    if not file.is_file():
        raise DataError(
            f"{root}: arrays without {DECLARATION}",
            hint=f"write one that states channels, rate and columns, or names a preset: {', '.join(preset_names())}",
        )
    declared = read_declaration(file)
    if view is not None and view not in declared.views:
        raise ConfigError(
            f"{root}: view {view!r} is not declared{nearest(view, declared.views)}", hint=f"views: in {file}"
        )
    x, y = _axes(_mapped(root / declared.x), declared, root / declared.x), _codes(root / declared.y, declared)
    if len(x) != len(y):
        raise DataError(
            f"{root}: {declared.x} has {len(x)} windows, {declared.y} has {len(y)} rows, expected one row per window"
        )
    if declared.join is not None and x.shape[1] != len(declared.channels):
        x, y, declared = join_rows(x, y, declared, source=str(root / declared.y))
    _check_codes(y, declared, root)
    check_values(x, declared, source=str(root / declared.x))
    return ArrayFolder(root=root, declaration=declared, view=view, x=x, y=y)


def _mapped(file: Path) -> np.ndarray:
    """A memory map of a .npy file, as a plain array.

    Raises:
        DataError: no such file, or one that is not the .npy file of an array of numbers.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file", hint=f"keys `x` and `y` of {DECLARATION} name the files")
    try:
        mapped = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, OverflowError, EOFError, SyntaxError, TypeError, MemoryError) as error:
        raise DataError(f"{file}: not a .npy file of numbers: {error}", hint="copy or download it again") from error
    if mapped.dtype.kind not in "fiub" or not mapped.size:
        raise DataError(f"{file}: {mapped.dtype} of shape {mapped.shape}, expected a non-empty array of numbers")
    return np.asarray(mapped)


def _axes(x: np.ndarray, declared: ArrayDeclaration, file: Path) -> np.ndarray:
    """Windows as (N, C, T), as a view."""
    letters, channels = declared.axes.split(), len(declared.channels)
    if x.ndim == 3 and len(letters) == 4:
        letters.remove("1")
    sizes = dict(zip(letters, x.shape, strict=False))
    found = sizes.get("C", 0)  # 0 where x has too few axes
    # Rows of single positions, which are joined afterwards, have a part of the channels.
    fits = found == channels or (declared.join is not None and channels % max(1, found) == 0)
    if x.ndim != len(letters) or not fits or sizes.get("1", 1) != 1 or x.dtype.kind == "b":
        raise DataError(
            f"{file}: {x.dtype} of shape {x.shape}, expected numbers ({', '.join(letters)}) with C={channels} channels",
            hint=f"correct `axes` or `channels` in {DECLARATION}; {HINT}",
        )
    return x[:, :, 0] if x.ndim == 4 else x.transpose(0, 2, 1) if letters[1] == "T" else x


def _codes(file: Path, declared: ArrayDeclaration) -> np.ndarray:
    """Columns of y as (N, columns) int64."""
    y = _mapped(file)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[1] != len(declared.columns):
        raise DataError(
            f"{file}: shape {y.shape}, expected one row per window and {len(declared.columns)} columns: "
            f"{', '.join(declared.columns)}",
            hint=f"correct `columns` in {DECLARATION}",
        )
    wrong = np.argwhere(~(np.isfinite(y) & (y >= 0) & (y <= LARGEST_CODE) & (y == np.round(y))))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{file}: row {row}, column {declared.columns[column]!r}: {y[row, column]}, expected a whole number "
            f"0 .. {LARGEST_CODE}"
        )
    return y.astype(np.int64)


def _check_codes(y: np.ndarray, declared: ArrayDeclaration, root: Path) -> None:
    """Every code has a name, and every subject is in one split."""
    for i, column in enumerate(declared.columns):
        names = declared.classes if column == "activity" else declared.values.get(column)
        if names is not None and y[:, i].max() >= len(names):
            row = int(y[:, i].argmax())
            key = "classes" if column == "activity" else f"values.{column}"
            raise DataError(
                f"{root / declared.y}: row {row}, column {column!r}: {y[row, i]}, but `{key}` has {len(names)} names "
                f"for 0 .. {len(names) - 1}",
                hint=f"correct `{key}` in {DECLARATION}; the codes begin with 0",
            )
    if declared.splits:
        folder = ArrayFolder(root=root, declaration=declared, view=None, x=y, y=y)
        subjects = set(folder._facts["subject"].tolist())
        listed = {s for own in declared.splits.values() for s in own}
        for wrong, what in ((listed - subjects, "no window has"), (subjects - listed, "no split contains")):
            if wrong:
                raise DataError(
                    f"{root / DECLARATION}: key 'splits': {what} the subjects {sorted(wrong)}",
                    hint=f"the subjects are {', '.join(sorted(subjects))}",
                )
