"""The files of a folder by their likely role: IMU files by reader or columns, videos, labels; builds nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from imu_video.datasets.proposal.columns import LABEL, triples
from imu_video.errors import ImuVideoError, RecordingError
from imu_video.readers.base import Reader, Reading
from imu_video.readers.members import head
from imu_video.readers.sheets import Sheet, decoded
from imu_video.readers.tables import iso_seconds
from imu_video.registry import readers

VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".ts", ".360"}
TABLES = {".csv", ".txt", ".tsv"}
_PARQUET = {".parquet", ".pq"}
TABULAR = TABLES | _PARQUET
"""Endings of files that are read as tables."""
_MOST_FILES = 20_000
_ROWS = 20_000  # rows of a table that are examined; units do not change in a file
_START = re.compile(r"^(start|begin|from|onset|t0)([_ ]?(time|s|ms))?$", re.IGNORECASE)
_END = re.compile(r"^(end|stop|to|until|offset|t1)([_ ]?(time|s|ms))?$", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d.,eE+-]*(, column \d+)?|nan", re.IGNORECASE)
# If two readers recognise a file, the one with the more specific evidence takes precedence.
_LAST = ("core_motion", "rosbag")


@dataclass(frozen=True, kw_only=True)
class ImuFile:
    """An IMU file or export.

    Args:
        path: relative to the folder; a folder for an export of several files.
        kind: name of the reader, or the columns of a table: files of one kind share a format.
        evidence: why it is of this kind.
    """

    path: str
    kind: str
    evidence: str

    @property
    def is_table(self) -> bool:
        """Whether it is a table without a reader of its own."""
        return self.kind.startswith("columns ")


@dataclass(kw_only=True)
class Contents:
    """Files of a folder, paths relative to it; every file is in one of the lists."""

    imu: list[ImuFile] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    label_columns: tuple[str, str, str] = ("start", "end", "label")


def look(root: Path) -> Contents:
    """Content of a folder; reads the beginning of each file, and no file as a whole.

    Raises:
        RecordingError: more than 20,000 files.
    """
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not _hidden(p.relative_to(root).parts)]
    if len(files) > _MOST_FILES:
        raise RecordingError(
            f"{root}: {len(files)} files, expected at most {_MOST_FILES}", hint="name a smaller folder"
        )
    known = [(name, readers.build(name)) for name in _order(readers.names())]
    contents = Contents()
    taken: set[Path] = set()
    seen: dict[tuple[str, bytes], tuple[str, str] | None] = {}
    for folder in sorted({file.parent for file in files} - {root}):
        if not any(folder in done.parents or folder == done for done in taken):
            export = _recognised(folder, [(n, r) for n, r in known if "/" in r.formats])
            if export is not None and _one_export(export[0], folder):
                taken.add(folder)
                contents.imu.append(_imu(root, folder, *export))
    for file in files:
        if file in taken or any(parent in taken for parent in file.parents):
            continue
        relative = file.relative_to(root).as_posix()
        if file.suffix.lower() in VIDEOS:
            contents.videos.append(relative)
            continue
        found = seen.get(_alike(file), ("", ""))
        if found == ("", ""):
            found = _recognised(file, [(n, r) for n, r in known if file.suffix.lower() in r.formats])
            seen[_alike(file)] = found
        if found is not None:
            reader = dict(known)[found[0]]
            parts = [part for part in reader.files(file) if part in files]
            taken |= set(parts) or {file}
            contents.imu.append(_imu(root, _telling(parts) or file, *found))
        elif file.suffix.lower() in TABULAR:
            _table(root, file, contents)
        elif relative != "dataset.yaml":
            contents.others.append(relative)
    contents.imu.sort(key=lambda one: one.path)
    return contents


def _alike(file: Path) -> tuple[str, bytes]:
    """Name and first line of a file without their numbers: files that agree in both are of one kind."""
    first = head(file, 400).split(b"\n", 1)[0]
    return re.sub(r"\d+", "0", file.name), re.sub(rb"-?\d[\d.eE+-]*", b"0", first)


def _order(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name in _LAST, name))


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def recognise(path: Path) -> tuple[str, str] | None:
    """Name of the reader for a file or the folder of an export, and its evidence; None if no reader recognises it.

    Args:
        path: an existing file or folder.
    """
    ending = "/" if path.is_dir() else path.suffix.lower()
    known = [(name, readers.build(name)) for name in _order(readers.names())]
    return _recognised(path, [(name, reader) for name, reader in known if ending in reader.formats])


def _recognised(path: Path, among: list[tuple[str, Reader]]) -> tuple[str, str] | None:
    for name, reader in among:
        evidence = reader.recognises(path)
        if evidence is not None:
            return name, evidence
    return None


def _one_export(name: str, folder: Path) -> bool:
    """Whether a folder is one export, not a folder of several: reading it then fails."""
    try:
        readers.build(name).read(folder)
    except ImuVideoError as error:
        return "several" not in error.message and "one export" not in error.message
    return True


def _telling(parts: list[Path]) -> Path | None:
    """Of the files of one device, the one of the accelerometer."""
    return next((p for p in parts if "accel" in p.name.lower()), parts[0] if parts else None)


def _imu(root: Path, path: Path, kind: str, evidence: str) -> ImuFile:
    return ImuFile(path=path.relative_to(root).as_posix(), kind=kind, evidence=evidence)


def _table(root: Path, file: Path, contents: Contents) -> None:
    relative = file.relative_to(root).as_posix()
    try:
        names = columns_of(file)
    except ImuVideoError:
        contents.others.append(relative)
        return
    labels = [next((n for n in names if pattern.match(n)), "") for pattern in (_START, _END, LABEL)]
    if all(labels):
        contents.label_columns = (labels[0], labels[1], labels[2])
        contents.labels.append(relative)
    elif all(_NUMBER.fullmatch(name) for name in names) and len(names) >= 3:
        kind = f"columns without names, {len(names)}"
        contents.imu.append(ImuFile(path=relative, kind=kind, evidence="numbers without a header line"))
    elif triples(names):
        contents.imu.append(ImuFile(path=relative, kind=f"columns {', '.join(names)}", evidence="a table"))
    else:
        contents.others.append(relative)


def columns_of(file: Path) -> tuple[str, ...]:
    """Names of the columns of a table.

    Raises:
        RecordingError: no table.
        ConfigError: Parquet without pyarrow.
    """
    if file.suffix.lower() in _PARQUET:
        return tuple(_parquet(file, 0))
    content = head(file, 65_536)
    if b"\x00" in content[:512] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecordingError(f"{file}: binary, expected text")
    return Sheet(str(file), content.rpartition(b"\n")[0] or content).names


def read_columns(file: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, str]]:
    """The first rows of a table: numbers by column, texts by column, and the format options that it needs.

    Columns without any value, such as those of a sensor that an app did not record, are left out.

    Raises:
        RecordingError: no table, or no value in any column.
    """
    if file.suffix.lower() in _PARQUET:
        frame = _parquet(file, _ROWS)
        return ({n: _numbers([str(v) for v in column]) for n, column in frame.items()}, _texts(frame), {})
    with file.open("rb") as source:
        content = b"".join(source.readline() for _ in range(_ROWS))
    sheet = Sheet(str(file), content)
    columns = {name: sheet.texts(name, empty=True) for name in sheet.names if not name.startswith("column ")}
    columns = {name: texts for name, texts in columns.items() if any(texts)}
    if not columns:
        raise RecordingError(f"{file}: no rows")
    form = {} if sheet.delimiter == "," else {"delimiter": sheet.delimiter}
    first = decoded(content).split("\n")[:6]
    if sheet.delimiter != "," and any(re.search(r"\d,\d", line) for line in first[1:]):
        form["decimal"] = ","
    if all(_NUMBER.fullmatch(name) for name in sheet.names):
        form["columns"] = "TODO"
    point = form.get("decimal", ".")
    return {n: _numbers([t.replace(point, ".") for t in texts]) for n, texts in columns.items()}, columns, form


def _texts(frame: dict[str, list[object]]) -> dict[str, list[str]]:
    return {name: [str(value) for value in column[:50]] for name, column in frame.items()}


def _numbers(texts: list[str]) -> np.ndarray:
    out = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            out[row] = float(text)
        except ValueError:
            continue
    out[~np.isfinite(out)] = np.nan
    return out


def _parquet(file: Path, rows: int) -> dict[str, list[object]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise RecordingError(f"{file}: needs pyarrow", hint="pip install 'imu-video[parquet]'") from error
    try:
        source = parquet.ParquetFile(file)
        if rows == 0:
            return {name: [] for name in source.schema_arrow.names}
        batch = next(source.iter_batches(batch_size=rows))
        return {name: [str(v) for v in batch.column(name).to_pylist()] for name in batch.schema.names}
    except (OSError, ValueError, StopIteration, RuntimeError) as error:
        raise RecordingError(f"{file}: not a readable Parquet file: {error}") from error


def readings(root: Path, files: list[ImuFile], most: int = 3) -> Iterator[tuple[ImuFile, Reading | ImuVideoError]]:
    """The first files of a reader's kind as they are read, or the error that reading gives."""
    for one in files[:most]:
        try:
            yield one, readers.build(one.kind).read(root / one.path)
        except ImuVideoError as error:
            yield one, error


def label_range(root: Path, path: str, columns: tuple[str, str, str]) -> tuple[float, float, bool] | None:
    """First start and last end of a label file, and whether they are written as dates; None if they are neither."""
    try:
        values, texts, _ = read_columns(root / path)
    except ImuVideoError:
        return None
    starts, ends = (values.get(name, np.zeros(0)) for name in columns[:2])
    if np.isfinite(starts).any() and np.isfinite(ends).any():
        return float(np.nanmin(starts)), float(np.nanmax(ends)), False
    moments = [iso_seconds(texts.get(name, [])) for name in columns[:2]]
    if all(len(m) and np.isfinite(m).any() for m in moments):
        return float(np.nanmin(moments[0])), float(np.nanmax(moments[1])), True
    return None


def words_of(path: str) -> list[str]:
    """Words of a path without its ending: ``s01/walk_left_wrist.csv`` has s01, walk, left, wrist."""
    return [word for word in re.split(r"[\W_]+", str(PurePosixPath(path).with_suffix(""))) if word]
