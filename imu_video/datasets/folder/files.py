"""The files of each recording of a folder, from the patterns or the list in its `dataset.yaml`; reads none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imu_video.datasets.folder.declaration import VARIABLES, WORD, Declaration, Pattern, VideoFile
from imu_video.errors import ConfigError, RecordingError, nearest


@dataclass(kw_only=True)
class Planned:
    """The files of one recording; they exist but are not read yet."""

    subject: str
    name: str
    session: str = "1"
    imu: dict[str, Path] = field(default_factory=dict)
    video: VideoFile | None = None
    labels: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def listed(root: Path, config: Declaration) -> list[Planned]:
    """The recordings of a declaration that lists them file by file."""
    return [
        Planned(
            subject=entry.subject,
            name=entry.name,
            session=entry.session,
            imu={placement: root / path for placement, path in entry.imu.items()},
            video=entry.video,
            labels=root / entry.labels if entry.labels else None,
            tags=entry.tags,
        )
        for entry in config.recordings or []
    ]


def matched(root: Path, config: Declaration, declaration: Path) -> list[Planned]:
    """The recordings whose files match the patterns of a declaration, in the order of their names.

    Args:
        root: folder that the patterns are relative to.
        config: content of the declaration, with ``files``.
        declaration: its path, for error messages.

    Raises:
        RecordingError: no file matches, or a file of an undeclared placement.
        ConfigError: an offset of an unknown recording, or a recording without one.
    """
    pattern = config.files
    assert pattern is not None
    expression = _expression(pattern.imu, config.placements)
    anything = _expression(pattern.imu)
    labels = _expression(pattern.labels) if pattern.labels else None
    found: dict[str, Planned] = {}
    for path in sorted(root.glob(re.sub(r"{\w+}", "*", pattern.imu))):
        relative = path.relative_to(root).as_posix()
        match = expression.fullmatch(relative)
        if not match:
            other = anything.fullmatch(relative)
            if other and not (labels and labels.fullmatch(relative)):
                placement = other["placement"]
                raise RecordingError(
                    f"{path}: placement {placement!r} is not declared{nearest(placement, config.placements)}",
                    hint=f"add it under 'placements' in {declaration}, or remove the file from the folder",
                )
            continue
        words = match.groupdict()
        placement = words.pop("placement", "")
        name = "-".join(words[v] for v in VARIABLES if v in words)
        planned = found.get(name)
        if planned is None:
            planned = found[name] = _plan(root, declaration, pattern, name, words)
        planned.imu.update(dict.fromkeys([placement] if placement else config.placements, path))
    if not found:
        raise RecordingError(
            f"{declaration}: no file in {root} matches files.imu = {pattern.imu!r}",
            hint=f"correct the pattern; each variable matches {WORD}",
        )
    if isinstance(pattern.offset_s, dict):
        for name in pattern.offset_s:
            if name not in found:
                raise ConfigError(f"{declaration}: files.offset_s names {name!r}{nearest(name, found)}")
    return [found[name] for name in sorted(found)]


def _plan(root: Path, declaration: Path, pattern: Pattern, name: str, words: Mapping[str, str]) -> Planned:
    planned = Planned(subject=words["subject"], name=name, session=words.get("session", "1"))
    if pattern.video:
        file = pattern.video.format(**words)
        if (root / file).is_file() or "video" not in pattern.optional:
            offset = pattern.offset_s
            if isinstance(offset, dict):
                if name not in offset:
                    raise ConfigError(f"{declaration}: files.offset_s has no entry for recording {name!r}")
                offset = offset[name]
            planned.video = VideoFile(file=file, offset_s=offset)
    if pattern.labels:
        labels = root / pattern.labels.format(**words)
        if labels.is_file() or "labels" not in pattern.optional:
            planned.labels = labels
    return planned


def files_of(root: Path, planned: Planned) -> list[Path]:
    """All files of a recording, each once."""
    video = root / planned.video.file if planned.video else None
    return [path for path in dict.fromkeys((*planned.imu.values(), video, planned.labels)) if path is not None]


def require(root: Path, planned: Iterable[Planned], declaration: Path) -> None:
    """Raise an error for declared files that do not exist, before hours of building reach them."""
    # The export of an app may be a folder.
    missing = [path for recording in planned for path in files_of(root, recording) if not path.exists()]
    if missing:
        raise RecordingError(
            f"{missing[0]}: no such file{f', and {len(missing) - 1} more' if missing[1:] else ''}",
            hint=f"correct {declaration}; `files.optional: [video, labels]` lets recordings lack them",
        )


def _expression(template: str, placements: Iterable[str] = ()) -> re.Pattern[str]:
    """The template as a regular expression; a variable used twice must match the same text twice."""
    seen: set[str] = set()

    def piece(part: str) -> str:
        if not re.fullmatch(r"{\w+}", part):
            return re.escape(part)
        variable = part[1:-1]
        if variable in seen:
            return f"(?P={variable})"
        seen.add(variable)
        known = "|".join(map(re.escape, placements)) if variable == "placement" else ""
        return f"(?P<{variable}>{known or WORD + '?'})"

    return re.compile("".join(piece(part) for part in re.split(r"({\w+})", template)))
