"""The files of each recording of a folder, from the patterns or the list in its `dataset.yaml`; reads none of them.

Every file below the folder is used, refused by an error, or counted in a note.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imu_video.datasets.folder.copies import copies
from imu_video.datasets.folder.declaration import VARIABLES, Declaration, Pattern, VideoFile
from imu_video.datasets.folder.patterns import Template, composed, plain_name
from imu_video.errors import ConfigError, RecordingError, nearest, report
from imu_video.registry import readers
from imu_video.runtime.journal import JOB_FILE, PARTIAL_SUFFIX, PARTS_SUFFIX
from imu_video.shards.schema import INDEX_FILE

_TABLES = {".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz", ".zip", ".xlsx", ".json"}
_VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".ts", ".360", ".insv"}


@dataclass(kw_only=True)
class Planned:
    """The files of one recording; they exist but are not read yet.

    Args:
        subject, name, session, tags: as in `Recording`.
        imu: placement -> its file; of sensors in separate files the first.
        sensors: placement -> sensor -> its file, where they are separate.
        video: the main video.
        cameras: further videos by name.
        labels: the label file.
    """

    subject: str
    name: str
    session: str = "1"
    imu: dict[str, Path] = field(default_factory=dict)
    sensors: dict[str, dict[str, Path]] = field(default_factory=dict)
    video: VideoFile | None = None
    cameras: dict[str, VideoFile] = field(default_factory=dict)
    labels: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def videos(self) -> dict[str, VideoFile]:
        """Stream name -> video."""
        further = {f"video.{name}": video for name, video in self.cameras.items()}
        return ({"video": self.video} if self.video else {}) | further


@dataclass(frozen=True, kw_only=True)
class Found:
    """The recordings of a folder, and facts about its other files.

    Args:
        planned: the recordings, in a stable order.
        notes: sentences about unused files and similar names.
    """

    planned: list[Planned]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of files below a folder: all, under ``ignore``, and used."""

    files: int
    ignored: int
    used: int


def find(root: Path, config: Declaration, declaration: Path) -> Found:
    """The files of all recordings, and notes on the others.

    Args:
        root: folder that paths and patterns are relative to.
        config: content of the declaration.
        declaration: its path, for error messages.

    Raises:
        RecordingError: declared files that do not exist, no file that fits, files that fit in two ways, two files that
            become one recording, or a file of an undeclared placement.
        ConfigError: an offset of an unknown recording, or a recording without one.
    """
    files = sorted(_walk(root))
    table = composed(config.subjects.file) if config.subjects else None
    belong = [path for path in files if not _ignored(path, config.ignore)]
    matches = (
        None
        if config.files is None
        else _Matches(root, config, declaration, [p for p in belong if composed(p) != table])
    )
    planned = _listed(root, config, files) if matches is None else matches.planned()
    require(root, planned, declaration, config)
    tables = [root / config.subjects.file] if config.subjects else []
    used = {declaration, *tables, *(path for recording in planned for path in files_of(root, recording, config))}
    folders = [path for path in used if path.is_dir()]
    unused = [
        path
        for path in belong
        if root / path not in used and not any((root / path).is_relative_to(folder) for folder in folders)
    ]
    orphans = {} if matches is None else matches.orphans(unused)
    rest = [path for path in unused if not any(path in paths for paths in orphans.values())]
    counts = Counts(files=len(files), ignored=len(files) - len(belong), used=len(belong) - len(unused))
    return Found(
        planned=planned,
        notes=(
            *(f"{len(paths)} {what} of no recording: {_some(paths)}" for what, paths in orphans.items()),
            *_unused(rest, counts, declaration),
            *_alike(sorted({recording.subject for recording in planned})),
            *copies(root, (p for one in planned for f in (one.imu, *one.sensors.values()) for p in f.values())),
        ),
    )


def files_of(root: Path, planned: Planned, config: Declaration) -> list[Path]:
    """All files of a recording, each once; with those that its readers read beside the declared ones."""
    sensors = [path for files in planned.sensors.values() for path in files.values()]
    videos = [root / video.file for video in planned.videos.values()]
    labels = [planned.labels] if planned.labels else []
    beside = [part for placement, path in planned.imu.items() for part in _beside(config, planned, placement, path)]
    return list(dict.fromkeys((*planned.imu.values(), *beside, *sensors, *videos, *labels)))


def _beside(config: Declaration, planned: Planned, placement: str, path: Path) -> tuple[Path, ...]:
    """Files that form one device with a declared file: the gyroscope's beside the accelerometer's."""
    entry = dict(config.format_of(placement, planned.name).reader or {})
    entry.pop("device", None)
    if not entry or not path.is_file():
        return ()
    return tuple(readers.build(entry).files(path))


def require(root: Path, planned: Iterable[Planned], declaration: Path, config: Declaration) -> None:
    """Raise an error for declared files that do not exist, before hours of building reach them."""
    # The export of an app may be a folder.
    missing = [
        (path, recording) for recording in planned for path in files_of(root, recording, config) if not path.exists()
    ]
    if missing:
        more = f", and {len(missing) - 1} more" if missing[1:] else ""
        first, *others = (
            RecordingError(f"{path}: no such file", hint=_hint(recording, path, declaration))
            for path, recording in missing
        )
        first.message += more
        report(first, *others)


def _hint(recording: Planned, path: Path, declaration: Path) -> str:
    hint = f"correct {declaration}; `files.optional: [video, cameras, labels]` lets recordings lack them"
    imu = next(iter(recording.imu.values()))
    return hint if path == imu else f"{hint}; if {imu.name} is not a recording, name it under `ignore`"


# ------------------------------------------------------------------------------------------------------ recordings


def _listed(root: Path, config: Declaration, files: Sequence[str]) -> list[Planned]:
    """The recordings of a declaration that lists them file by file."""
    written = {composed(path): path for path in files}

    def there(path: str) -> str:
        return written.get(composed(path), path)

    owners: dict[tuple[str, str], str] = {}
    for entry in config.recordings or []:
        for placement, path in ((p, path) for p, given in entry.imu.items() for path in _paths(given).values()):
            owner = owners.setdefault((composed(path), placement), entry.name)
            if owner != entry.name:
                report(
                    RecordingError(
                        f"{root / path}: used twice: placement {placement!r} of {owner!r} and {entry.name!r}",
                        hint="name the file of each recording, or remove one of the two entries",
                    )
                )
    return [
        Planned(
            subject=entry.subject,
            name=entry.name,
            session=entry.session,
            imu={placement: root / there(next(iter(_paths(given).values()))) for placement, given in entry.imu.items()},
            sensors={
                placement: {kind: root / there(path) for kind, path in given.items()}
                for placement, given in entry.imu.items()
                if isinstance(given, dict)
            },
            video=entry.video and entry.video.model_copy(update={"file": there(entry.video.file)}),
            cameras={n: v.model_copy(update={"file": there(v.file)}) for n, v in entry.cameras.items()},
            labels=root / there(entry.labels) if entry.labels else None,
            tags=entry.tags,
        )
        for entry in config.recordings or []
    ]


def _paths(given: str | Mapping[Any, str]) -> dict[str, str]:
    """Sensor -> file; ``""`` for a file that holds all of a device."""
    return {"": given} if isinstance(given, str) else {str(kind): path for kind, path in given.items()}


class _Matches:
    """The files that fit the patterns of a declaration, by role: IMU, video, camera or labels.

    Args:
        root, config, declaration: as for `find`.
        files: paths relative to the root.
    """

    def __init__(self, root: Path, config: Declaration, declaration: Path, files: Sequence[str]) -> None:
        assert config.files is not None
        self._root, self._config, self._declaration = root, config, declaration
        self._pattern: Pattern = config.files
        self._placements = sorted(config.placements)
        known = config.files.variables
        self._templates: list[tuple[str, Template]] = [("imu", Template(t, known)) for t in config.files.imu_patterns]
        self._sensors = {Template(t).text: kind for kind, texts in config.files.by_sensor.items() for t in texts}
        cameras = {f"camera {name}": text for name, text in config.files.cameras.items()}
        for role, text in {"video": config.files.video, "labels": config.files.labels, **cameras}.items():
            self._templates += [(role, Template(text, known))] if text else []
        self._imu: list[tuple[str, dict[str, str], str]] = []
        self._others: dict[str, dict[tuple[str, ...], str]] = {role: {} for role, _ in self._templates if role != "imu"}
        for path in files if not self._folders() else [*files, *_folders_of(files)]:
            try:
                self._place(path)
            except RecordingError as error:
                report(error)

    def _folders(self) -> bool:
        """Whether a declared reader takes folders, such as the unpacked export of an app."""
        for placement in self._placements:
            reader = self._config.format_of(placement).reader
            if reader is not None and "/" in readers.get(reader["name"]).formats:
                return True
        return False

    def _place(self, path: str) -> None:
        """Choose the role of a file: of the patterns that fit it, the one with the most fixed text."""
        fits = []
        for role, template in self._templates:
            words = template.readings(path, self._placements if role == "imu" else None)
            if words:
                fits.append((template.literals, role, template, words))
        if not fits:
            self._refuse_placement(path)
            return
        most = max(fit[0] for fit in fits)
        best = [fit for fit in fits if fit[0] == most]
        for _, role, template, words in best:
            if any(other.text != template.text for _, _, other, _ in best):
                kinds = " and ".join(f"files.{kind} = {other.text!r}" for _, kind, other, _ in best)
                raise RecordingError(
                    f"{self._root / path}: fits {kinds}",
                    hint="make the patterns different, or name the file under `ignore` in the declaration",
                )
            if len(words) > 1:
                self._refuse_ambiguity(path, template, words)
            if role == "imu":
                self._imu.append((path, words[0], self._sensors[template.text]))
            else:
                self._remember(role, template, path, words[0])

    def _remember(self, role: str, template: Template, path: str, words: Mapping[str, str]) -> None:
        key = tuple(words[name] for name in template.variables)
        other = self._others[role].setdefault(key, path)
        if other != path:
            raise RecordingError(
                f"{self._root / path}: a second file fits files.{role} = {template.text!r} for the same recording: "
                f"{self._root / other}",
                hint="remove one of the two, or name it under `ignore` in the declaration",
            )

    def _refuse_ambiguity(self, path: str, template: Template, words: Sequence[Mapping[str, str]]) -> None:
        one, two = words[0], words[1]
        name = next(name for name in template.variables if one[name] != two[name])
        shown = " or as ".join(", ".join(f"{k} {v!r}" for k, v in each.items()) for each in (one, two))
        hint = "put the parts into separate folders, or restrict a variable with `files.variables`"
        for pattern in ("[^_-]+", "[^_]+", "[^-]+", ".*[_-].*"):
            narrow = Template(template.text, {**self._pattern.variables, name: pattern})
            if len(narrow.readings(path, self._placements)) == 1:
                hint = f'restrict the variable: with `files.variables: {{{name}: "{pattern}"}}` it is read as '
                hint += ", ".join(f"{k} {v!r}" for k, v in narrow.readings(path, self._placements)[0].items())
                break
        raise RecordingError(
            f"{self._root / path}: files.imu = {template.text!r} can be read as {shown}"
            if template.text in self._pattern.imu_patterns
            else f"{self._root / path}: {template.text!r} can be read as {shown}",
            hint=hint,
        )

    def _refuse_placement(self, path: str) -> None:
        for role, template in self._templates:
            if role != "imu" or "placement" not in template.variables:
                continue
            words = template.readings(path)
            if words:
                placement = min((w["placement"] for w in words), key=len)
                raise RecordingError(
                    f"{self._root / path}: placement {placement!r} is not declared"
                    f"{nearest(placement, self._placements)}",
                    hint=f"add it under 'placements' in {self._declaration}; if it is no IMU file, add a "
                    "pattern for it (files.labels, for example), or name it under 'ignore'",
                )

    def planned(self) -> list[Planned]:
        """The recordings, in the order of their names.

        Raises:
            RecordingError: no recording, or two files that become the same one.
            ConfigError: an offset of an unknown recording, or a recording without one.
        """
        found: dict[str, Planned] = {}
        first: dict[str, tuple[dict[str, str], str]] = {}
        for path, words, sensor in self._imu:
            placement = words.get("placement")
            own = {name: word for name, word in words.items() if name != "placement"}
            name = "-".join(plain_name(own[v]) for v in VARIABLES if v in own)
            before, file = first.setdefault(name, (own, path))
            planned = found.get(name)
            if planned is None:
                planned = found[name] = self._plan(name, own)
            here = [placement] if placement else self._placements
            there = {p: planned.sensors.get(p, {}).get(sensor) if sensor else planned.imu.get(p) for p in here}
            twice = [p for p in here if there[p] is not None]
            if before != own or twice:
                other = there[twice[0]] if twice else self._root / file
                where = f", placement {twice[0]!r}" if twice and before == own else ""
                report(
                    RecordingError(
                        f"{self._root / path} and {other} both become the recording {name!r}{where}",
                        hint="rename one of the two, or name it under `ignore` in the declaration",
                    )
                )
                continue
            for p in here:
                planned.imu.setdefault(p, self._root / path)
                if sensor:
                    planned.sensors.setdefault(p, {})[sensor] = self._root / path
        if not found:
            raise RecordingError(
                f"{self._declaration}: no file in {self._root} matches files.imu = {self._pattern.imu!r}",
                hint="correct the pattern; each variable stands for any text without '/'",
            )
        self._require_sensors(found.values())
        for key in ("offset_s", "start"):
            value = getattr(self._pattern, key)
            for name in value if isinstance(value, dict) else ():
                if name not in found:
                    report(ConfigError(f"{self._declaration}: files.{key} names {name!r}{nearest(name, found)}"))
        return [found[name] for name in sorted(found)]

    def _plan(self, name: str, words: Mapping[str, str]) -> Planned:
        planned = Planned(subject=words["subject"], name=name, session=words.get("session", "1"))
        pattern = self._pattern
        video = self._other("video", words)
        if video is not None:
            offset, start = pattern.offset_s, pattern.start.get(name)
            if isinstance(offset, dict):
                if name not in offset and start is None:
                    report(ConfigError(f"{self._declaration}: files.offset_s has no entry for recording {name!r}"))
                if name in offset and start is not None:
                    report(ConfigError(f"{self._declaration}: {name!r} is in files.offset_s and in files.start"))
                offset = offset.get(name)
            planned.video = VideoFile(file=video, offset_s=None if start is not None else offset, start=start)
        for camera in pattern.cameras:
            file = self._other(f"camera {camera}", words)
            if file is not None:
                planned.cameras[camera] = VideoFile(file=file, offset_s=pattern.camera_offset_s.get(camera))
        labels = self._other("labels", words)
        planned.labels = None if labels is None else self._root / labels
        return planned

    def _require_sensors(self, found: Iterable[Planned]) -> None:
        needed = [kind for kind in self._pattern.by_sensor if kind and kind not in self._pattern.optional]
        lacking = [
            (recording.name, placement, kind)
            for recording in found
            for placement, files in recording.sensors.items()
            for kind in needed
            if kind not in files
        ]
        if lacking:
            name, placement, kind = lacking[0]
            report(
                RecordingError(
                    f"{self._declaration}: recording {name!r}, placement {placement!r} has no file of {kind}"
                    + (f", and {len(lacking) - 1} more lack one" if lacking[1:] else ""),
                    hint=f"copy the file; `files.optional: [{kind}]` lets recordings lack it",
                )
            )

    def _other(self, role: str, words: Mapping[str, str]) -> str | None:
        """The file of a recording with a role, or the path that is expected; None if it may be absent."""
        for kind, template in self._templates:
            if kind == role:
                path = self._others[role].get(tuple(words[name] for name in template.variables))
                if path is None and ("cameras" if role.startswith("camera ") else role) not in self._pattern.optional:
                    return template.path(words)
                return path
        return None

    def orphans(self, unused: Iterable[str]) -> dict[str, list[str]]:
        """Videos and label files of no recording."""
        words = {"video": "videos", "labels": "label files"}
        lost = {
            words.get(role, f"videos of {role}"): sorted({*unused} & {*there.values()})
            for role, there in self._others.items()
        }
        return {what: paths for what, paths in lost.items() if paths}


# ------------------------------------------------------------------------------------------------------ other files


def _walk(root: Path) -> Iterator[str]:
    """Files below a folder, without hidden ones and without data folders; links are followed once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or (Path(folder) != root and _ours(Path(folder), files)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for name in files:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _ours(folder: Path, files: Sequence[str]) -> bool:
    """Whether a folder is a data folder, finished or not, that was built beside the recordings."""
    if INDEX_FILE in files and any(name.endswith(".tar") for name in files):
        return True
    return JOB_FILE in files and (folder.name.endswith(PARTIAL_SUFFIX) or folder.parent.name.endswith(PARTS_SUFFIX))


def _folders_of(files: Iterable[str]) -> list[str]:
    return sorted({parent.as_posix() for path in files for parent in Path(path).parents if parent != Path(".")})


def _ignored(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a file: by its name, with ``/`` by its path; ``folder/`` matches all files below."""
    text = composed(path)
    for pattern in map(composed, patterns):
        whole = pattern if not pattern.endswith("/") else pattern + "*"
        if fnmatch.fnmatchcase(text if "/" in whole else text.rsplit("/", 1)[-1], whole):
            return True
    return False


def _unused(rest: Sequence[str], counts: Counts, declaration: Path) -> Iterator[str]:
    """Notes on files that are no part of a recording: those that may be recordings are named, the others counted."""
    data = [path for path in rest if Path(path).suffix.lower() in _TABLES | _VIDEOS]
    if data:
        what, fit = ("file that looks", "fits") if len(data) == 1 else ("files that look", "fit")
        yield (
            f"{len(data)} {what} like a table or video {fit} "
            f"no pattern or entry of {declaration.name}: {_some(data)} (`ignore:` excludes files)"
        )
    kinds = Counter(Path(path).suffix.lower() or "without an ending" for path in rest if path not in {*data})
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    if rest or counts.ignored:
        unused = [f"{counts.ignored} named by `ignore`"] if counts.ignored else []
        unused += [f"{len(data)} like tables or videos"] if data else []
        unused += [f"others: {others}"] if others else []
        yield f"used: {counts.used} of {counts.files} files; not used: {'; '.join(unused)}"


def _some(paths: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, paths[:most]))
    return shown + (f" and {len(paths) - most} more" if len(paths) > most else "")


def _alike(subjects: Sequence[str]) -> Iterator[str]:
    """Notes on subjects whose names differ only in case, separators or leading zeros: often they are one."""
    by_key: dict[str, list[str]] = {}
    for subject in subjects:
        by_key.setdefault(_key(subject), []).append(subject)
    for names in by_key.values():
        if len(names) > 1:
            yield (
                f"the subjects {' and '.join(map(repr, names))} differ only in case, separators or leading zeros; if "
                "they are one subject, use one name, or its windows can be in training and test"
            )


def _key(subject: str) -> str:
    text = "".join(letter for letter in composed(subject).casefold() if letter.isalnum())
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)
