"""A `dataset.yaml` proposed for a folder: every guess is marked and carries its evidence; values that only the owner
knows are ``TODO``, which stops a build."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from imu_video.datasets.folder.declaration import DECLARATION
from imu_video.datasets.folder.patterns import plain_name
from imu_video.datasets.folder.unfilled import MARK, unfilled
from imu_video.datasets.proposal.columns import Columns, Guess, propose_columns
from imu_video.datasets.proposal.files import Contents, ImuFile, label_range, look, read_columns, readings
from imu_video.datasets.proposal.names import Names, beside, read_names
from imu_video.datasets.proposal.pairs import Pair, pairs_of, pattern_of, read_pair
from imu_video.errors import ConfigError, ImuVideoError, RecordingError
from imu_video.readers.base import Reading
from imu_video.readers.tables import PER_SECOND

_WIDTH = 62
_PLACES = "where it was worn: right_wrist, waist, pocket, ..."


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposed declaration.

    Args:
        text: content of `dataset.yaml`.
        recordings: number of recordings that it declares.
        marks: line and key of every value that the owner has to fill in.
        unused: files that it does not use.
    """

    text: str
    recordings: int
    marks: tuple[tuple[int, str], ...]
    unused: tuple[str, ...]


def propose(root: Path) -> Proposal:
    """Propose a `dataset.yaml` for a folder of recordings; nothing is written.

    Args:
        root: the folder.

    Raises:
        RecordingError: no such folder, or no IMU file in it.
    """
    if not root.is_dir():
        raise RecordingError(f"{root}: no such folder", hint="name the folder of your recordings")
    contents = look(root)
    if not contents.imu:
        seen = ", ".join([*contents.videos, *contents.labels, *contents.others][:5]) or "no file"
        raise RecordingError(
            f"{root}: no IMU file is recognised; the folder contains {seen}",
            hint="`imu-video list readers` names the files of devices and apps; tables: .csv, .txt, .tsv, .parquet",
        )
    return _Document(root, contents).proposal()


def write_proposal(root: Path) -> tuple[Path, Proposal]:
    """Write the proposal to the folder's `dataset.yaml`.

    Raises:
        ConfigError: the file exists; it is not changed.
        RecordingError: as `propose`.
    """
    path = root / DECLARATION
    if path.exists():
        raise ConfigError(
            f"{path} exists; `imu-video init` does not overwrite it",
            hint=f"imu-video init {root} --print shows the proposal; or rename {DECLARATION}",
        )
    proposal = propose(root)
    with path.open("x", encoding="utf-8") as file:
        file.write(proposal.text)
    return path, proposal


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """The files of one kind: lines of their format, their devices, and the range of their times."""

    files: list[ImuFile]
    form: list[str]
    devices: tuple[str, ...] = ()
    clock: tuple[float, float] | None = None
    start_utc: float | None = None
    unit: str | None = None
    pairs: tuple[Pair, ...] = ()

    @property
    def paths(self) -> list[str]:
        """One path per device, which names the recording."""
        return [pair.plain for pair in self.pairs] or [one.path for one in self.files]


class _Document:
    def __init__(self, root: Path, contents: Contents) -> None:
        self.root, self.contents = root, contents
        self.lines: list[str] = []
        self.used: set[str] = set()
        pairs = pairs_of(contents.imu)
        paired = {id(one) for pair in pairs for one in (pair.acc, pair.gyr)}
        groups: dict[str, list[ImuFile]] = {}
        for one in contents.imu:
            if id(one) not in paired:
                groups.setdefault(one.kind, []).append(one)
        together: dict[tuple[str, str], list[Pair]] = {}
        for pair in pairs:
            together.setdefault((pair.acc.kind, pair.gyr.kind), []).append(pair)
        self.timed = bool(contents.videos or contents.labels)
        self.kinds = [self._pairs(group) for group in together.values()]
        self.kinds += [self._table(files) if files[0].is_table else self._reader(files) for files in groups.values()]

    def proposal(self) -> Proposal:
        name = plain_name(self.root.resolve().name) or "my-study"
        self._put("# Proposed by `imu-video init`. Lines marked 'guess' show the evidence for their value.")
        self._put(f"# Replace each {MARK}; then: imu-video check {self.root.name}")
        self._put(f"dataset: {name}", "guess: the name of the folder")
        self._put(f"licence: {MARK}", "terms of these recordings, for example CC-BY-4.0 or 'not for distribution'")
        single = self.kinds[0] if len(self.kinds) == 1 else None
        names = read_names(single.paths) if single is not None else None
        if single is not None:
            self._put("")
            self._put("imu:")
            self.lines += [f"  {line}" for line in single.form]
        self._put("")
        self._put("placements:")
        placed = self._placements(names)
        self._put("")
        if names is not None and names.pattern is not None and single is not None and self._patterns(names, single):
            count = len({tuple(sorted((k, v) for k, v in w.items() if k != "placement")) for w in names.words.values()})
        else:
            count = self._listed(placed)
        self._labels()
        rest = [p for p in (*self.contents.videos, *self.contents.labels, *self.contents.others) if p not in self.used]
        if rest:
            self._put("")
            some = ", ".join(rest[:6]) + (" ..." if rest[6:] else "")
            self._put(f"# {len(rest)} files are not used by this declaration: {some}")
        # Names of files may hold line breaks, which would end a comment.
        text = "\n".join(re.sub(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+", " ", line) for line in self.lines) + "\n"
        return Proposal(text=text, recordings=count, marks=tuple(unfilled(text)), unused=tuple(rest))

    def _put(self, line: str, comment: str = "") -> None:
        self.lines.append(_commented(line, comment))

    # ------------------------------------------------------------------------------------------------------- formats

    def _reader(self, files: list[ImuFile]) -> _Kind:
        """A kind that a reader reads: its entry, and the content of the first files."""
        name, options, notes = files[0].kind, {}, []
        devices: dict[str, str] = {}
        first: Reading | None = None
        for one, result in readings(self.root, files):
            if isinstance(result, ImuVideoError):
                asked = re.search(r"reader: \{name: \w+, (\w+): ", result.hint or "")
                if asked and isinstance(result, ConfigError | RecordingError):
                    options[asked[1]] = result.message.partition(": ")[2] or result.message
                else:
                    notes.append(f"{one.path} cannot be read: {result.message}")
                continue
            first = first or result
            for device in result.devices:
                devices.setdefault(device.name, _facts(device.tracks, device.gravity))
            notes += [f"{one.path}: {note}" for note in result.notes]
        evidence = f"guess: {files[0].path}: {files[0].evidence}"
        form = []
        entry = ", ".join([f"name: {name}", *(f"{key}: {MARK}" for key in options)])
        form.append(_commented(f"reader: {{{entry}}}" if options else f"reader: {name}", evidence))
        form += [f"# {MARK} above: {reason}" for reason in options.values()]
        form += [f"# {device}: {facts}" for device, facts in devices.items()]
        form += [f"# {note}" for note in notes[:4]]
        if first is not None and first.start_utc is not None:
            moment = datetime.datetime.fromtimestamp(first.start_utc, tz=datetime.UTC).isoformat(
                timespec="milliseconds"
            )
            form.append(f"# {files[0].path} begins at {moment}")
            if self.timed:
                form.append(
                    _commented(
                        "clock: recording", "seconds from the beginning of each file; `utc` for POSIX time instead"
                    )
                )
        clock = None
        if first is not None:
            tracks = [track for device in first.devices for track in device.tracks.values()]
            clock = (min(float(t.times[0]) for t in tracks), max(float(t.times[-1]) for t in tracks))
        return _Kind(
            files=files,
            form=form,
            devices=tuple(devices) if len(devices) > 1 else (),
            clock=clock,
            start_utc=None if first is None else first.start_utc,
            unit="s",
        )

    def _table(self, files: list[ImuFile]) -> _Kind:
        """A kind of tables: its columns, proposed from the first file."""
        path = self.root / files[0].path
        values, texts, options = read_columns(path)
        found = propose_columns(list(values), values, texts)
        return self._tables(files, found, options, values)

    def _pairs(self, pairs: list[Pair]) -> _Kind:
        """A kind of devices with a table per sensor, proposed from the first pair."""
        found, options, values = read_pair(self.root, pairs[0])
        kind = self._tables([pair.acc for pair in pairs], found, options, values)
        form = [f"# guess: {pairs[0].gyr.path} is the gyroscope of the same device", *kind.form]
        return replace(kind, form=form, pairs=tuple(pairs))

    def _tables(
        self, files: list[ImuFile], found: Columns, options: Mapping[str, str], values: Mapping[str, np.ndarray]
    ) -> _Kind:
        form = [f"# guess, from {files[0].path}: {len(next(iter(values.values()), []))} rows"]
        if options.get("columns"):
            form.append(_commented(f"columns: {MARK}", "no header line: list the names of all columns"))
        if "delimiter" in options:
            form.append(f"delimiter: {json.dumps(options['delimiter'])}")
        if "decimal" in options:
            form.append('decimal: ","')
        form += list(_time_lines(found)) + list(_channel_lines(found))
        clock = None
        if found.time.value is not None and found.time_unit.value in PER_SECOND:
            times = values[found.time.value] / PER_SECOND[found.time_unit.value]
            clock = (float(np.nanmin(times)), float(np.nanmax(times)))
        return _Kind(files=files, form=form, clock=clock, unit=found.time_unit.value)

    # ---------------------------------------------------------------------------------------------------- placements

    def _placements(self, names: Names | None) -> dict[tuple[int, str], str]:
        """Write the placements; (kind, device) -> the name of its placement."""
        placed: dict[tuple[int, str], str] = {}
        if names is not None and names.placements:
            for placement in names.placements:
                self._put(f"  {placement}:", "guess: from the names of the files")
            return {(0, ""): names.placements[0]}
        for number, kind in enumerate(self.kinds):
            several = len(self.kinds) > 1
            for device in kind.devices or ("",):
                suffix = "_".join(w for w in (device, str(number + 1) if several and not device else "") if w)
                mark = f"{MARK}_{plain_name(suffix).replace('-', '_')}" if suffix else MARK
                placed[number, device] = mark
                what = f"the {device} of {kind.files[0].path}" if device else kind.files[0].path
                self._put(f"  {mark}:", f"the placement of {what}, {_PLACES}")
                own = f"reader: {{name: {kind.files[0].kind}, device: {json.dumps(device)}}}"
                if several:
                    form = (
                        [own, *(line for line in kind.form if not line.startswith("reader:"))] if device else kind.form
                    )
                    self.lines += [f"    {line}" for line in form]
                elif device:
                    self.lines.append(f"    {own}")
        if any(kind.devices for kind in self.kinds):
            self._put("  # remove devices that were not worn")
        return placed

    # ------------------------------------------------------------------------------------------------------ recordings

    def _patterns(self, names: Names, kind: _Kind) -> bool:
        """Write `files:`; False if videos or labels do not fit the pattern."""
        assert names.pattern is not None
        words = list(names.words.values())
        count = len({tuple(sorted((k, v) for k, v in one.items() if k != "placement")) for one in words})
        video = beside(names.pattern, words, self.contents.videos) if self.contents.videos else None
        labels = beside(names.pattern, words, self.contents.labels) if self.contents.labels else None
        if (self.contents.videos and (video is None or video[1])) or (self.contents.labels and labels is None):
            return False
        sensors = {
            sensor: pattern_of(names.pattern, {pair.plain: getattr(pair, sensor).path for pair in kind.pairs})
            for sensor in ("acc", "gyr")
            if kind.pairs
        }
        if None in sensors.values():
            return False
        subjects = sorted({one["subject"] for one in words})
        self._put("files:")
        if kind.pairs:
            self._put("  imu:", f"guess: {len(kind.pairs)} devices with a file per sensor")
            for sensor, pattern in sensors.items():
                self._put(f"    {sensor}: {json.dumps(pattern)}")
        else:
            self._put(f"  imu: {json.dumps(names.pattern)}", f"guess: {len(names.words)} files")
        self._put(
            f"  # guess: the subject is {names.evidence}: {', '.join(subjects[:5])}{' ...' if subjects[5:] else ''}"
        )
        optional = []
        if video is not None:
            self.used |= set(self.contents.videos)
            self._put(f"  video: {json.dumps(video[0])}", f"guess: {len(self.contents.videos)} files")
            self._put(f"  offset_s: {MARK}", self._offset(kind, self.contents.videos[0]))
            self._put("  # different offsets by recording: offset_s: {" + _example(words) + ": 0.35, ...}")
            optional += ["video"] if len(self.contents.videos) < count else []
        if labels is not None:
            covered = [path for path in self.contents.labels if path not in labels[1]]
            self.used |= set(covered)
            self._put(f"  labels: {json.dumps(labels[0])}", f"guess: {len(covered)} files")
            optional += ["labels"] if len(covered) < count else []
        if optional:
            self._put(f"  optional: [{', '.join(optional)}]", "not every recording has them")
        return True

    def _offset(self, kind: _Kind, video: str) -> str:
        known = "seconds on the IMU's clock at the first frame; visible in both, for example a clap"
        made = _creation_time(self.root / video)
        if made is None:
            return known
        hint = f"{known}. {PurePosixPath(video).name} has the creation time {made}, which may be its end"
        return hint

    def _listed(self, placed: Mapping[tuple[int, str], str]) -> int:
        """Write `recordings:`, one entry per file, or per folder where it has one file of each kind."""
        self._put("recordings:")
        entries = self._entries()
        for group in entries:
            stem = plain_name(PurePosixPath(group[0][1].path).with_suffix("").as_posix().replace("/", "-"))
            names = read_names([group[0][1].path])
            subject, whose = next(iter(names.words.values()), {}).get("subject"), names.evidence
            if subject is None and (self.root / group[0][1].path).is_dir():
                subject, whose = PurePosixPath(group[0][1].path).parts[0], "the name of the folder"
            self._put(
                f"  - subject: {json.dumps(subject) if subject else MARK}",
                f"guess: {whose}" if subject else f"who was recorded in {group[0][1].path}",
            )
            self._put(f"    name: {stem}")
            self._put("    imu:")
            for kind, one in group:
                pair = next((pair for pair in self.kinds[kind].pairs if pair.acc is one), None)
                files = json.dumps(one.path)
                if pair is not None:
                    files = f"{{acc: {files}, gyr: {json.dumps(pair.gyr.path)}}}"
                for device in self.kinds[kind].devices or ("",):
                    self._put(f"      {placed.get((kind, device), MARK)}: {files}")
            self._beside_entry(group[0][1], self.kinds[group[0][0]], only=len(entries) == 1)
        return len(entries)

    def _entries(self) -> list[list[tuple[int, ImuFile]]]:
        by_folder: dict[str, list[tuple[int, ImuFile]]] = {}
        for number, kind in enumerate(self.kinds):
            for one in kind.files:
                by_folder.setdefault(str(PurePosixPath(one.path).parent), []).append((number, one))
        entries = []
        for group in by_folder.values():
            kinds = [number for number, _ in group]
            if len(group) > 1 and len(set(kinds)) == len(kinds):
                entries.append(group)
            else:
                entries += [[one] for one in group]
        return entries

    def _beside_entry(self, one: ImuFile, kind: _Kind, *, only: bool) -> None:
        """The video and labels of an entry: of the same name, or the only ones of its folder."""
        path = PurePosixPath(one.path)
        for what, paths in (("video", self.contents.videos), ("labels", self.contents.labels)):
            near = [p for p in paths if PurePosixPath(p).parent == path.parent and p not in self.used]
            same = [p for p in near if PurePosixPath(p).stem.startswith(path.stem)]
            alone = near if len(near) == 1 and (only or str(path.parent) != ".") else []
            for found in (same or alone)[:1]:
                self.used.add(found)
                if what == "labels":
                    self._put(f"    labels: {json.dumps(found)}", "guess: by its name and folder")
                else:
                    self._put("    video:", "guess: by its name and folder")
                    self._put(f"      file: {json.dumps(found)}")
                    self._put(f"      offset_s: {MARK}", self._offset(kind, found))

    # ---------------------------------------------------------------------------------------------------------- labels

    def _labels(self) -> None:
        used = [path for path in self.contents.labels if path in self.used]
        if not used:
            return
        start, end, label = self.contents.label_columns
        found = label_range(self.root, used[0], self.contents.label_columns)
        unit, why = _label_unit(found, self.kinds[0])
        self._put("")
        self._put("label_files:", f"guess: from {used[0]}")
        for key, column in (("start", start), ("end", end), ("label", label)):
            self._put(f"  {key}: {json.dumps(column)}")
        self._put(f"  unit: {unit or MARK}", why)


def _commented(line: str, comment: str) -> str:
    comment = " ".join(comment.split())
    return f"{line}{' ' * max(2, 30 - len(line))}# {comment}" if comment else line


def _guess(guess: Guess) -> tuple[str, str]:
    return (guess.value, f"guess: {guess.evidence}") if guess.value is not None else (MARK, guess.evidence)


def _time_lines(found: Columns) -> Iterator[str]:
    yield "time:"
    if found.time.value is None:
        yield _commented(f"  rate_hz: {MARK}", f"{found.time.evidence}: samples per second")
        return
    yield _commented(f"  column: {json.dumps(found.time.value)}", f"guess: {found.time.evidence}")
    value, comment = _guess(found.time_unit)
    yield _commented(f"  unit: {value}", comment + ("" if found.time_unit.value else "; s, ms, us, ns or iso8601"))


def _channel_lines(found: Columns) -> Iterator[str]:
    if not found.channels:
        yield _commented(
            f"channels: {MARK}", "no three columns x, y, z of acceleration are recognised: {acc_x: COLUMN, ...}"
        )
        yield _commented(f"units: {MARK}", "{acc: m/s^2 | g | mg, gyr: rad/s | deg/s}")
        return
    yield _commented(
        "channels:", "guess: from the names" + (f"; not read: {', '.join(found.unused)[:80]}" if found.unused else "")
    )
    for channel, column in found.channels.items():
        yield f"  {channel}: {json.dumps(column)}"
    yield "units:"
    for kind, guess in found.units.items():
        value, comment = _guess(guess)
        yield _commented(f"  {kind}: {value}", comment)
    if found.label.value is not None:
        yield _commented(f"label: {json.dumps(found.label.value)}", f"guess: {found.label.evidence}")
    if found.gravity is not None and found.gravity.value == "removed":
        yield _commented("gravity: removed", f"guess: {found.gravity.evidence}")


def _facts(tracks: Mapping[str, object], gravity: bool | None) -> str:
    parts = []
    for kind, track in tracks.items():
        times = getattr(track, "times", np.zeros(0))
        rate = 1 / float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        parts.append(f"{kind} {rate:.4g} Hz, {float(times[-1] - times[0]):.4g} s")
    held = {True: "with gravity", False: "WITHOUT gravity", None: "gravity unknown"}[gravity]
    return "; ".join(parts) + (f"; acceleration {held}" if "acc" in tracks else "")


def _example(words: Sequence[Mapping[str, str]]) -> str:
    first = words[0]
    return plain_name("-".join(first[v] for v in ("subject", "session", "recording") if v in first))


def _creation_time(path: Path) -> str | None:
    """The moment that a video's container names, as text; None if it names none or cannot be read."""
    import av

    try:
        with av.open(str(path)) as container:
            return str(container.metadata.get("creation_time") or "") or None
    except Exception:
        return None


def _label_unit(found: tuple[float, float, bool] | None, kind: _Kind) -> tuple[str | None, str]:
    if found is None:
        return None, "the times are neither numbers nor dates"
    begin, end, dates = found
    if dates:
        return "iso8601", "guess: written as dates"
    if kind.clock is None:
        return None, f"from {begin:g} to {end:g}: s, ms, us or ns on the IMU's clock"
    low, high = kind.clock
    slack = 0.1 * (high - low) + 1.0
    fits = [
        unit
        for unit, per in PER_SECOND.items()
        if low - slack <= begin / per and end / per <= high + slack and (end - begin) / per >= 0.1 * (high - low)
    ]
    said = f"from {begin:g} to {end:g}; the IMU's clock runs from {low:g} to {high:g} s"
    return (
        (fits[0], f"guess: {said}")
        if len(fits) == 1
        else (None, f"{said}, which fits {' and '.join(fits) or 'no unit'}")
    )
