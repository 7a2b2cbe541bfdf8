"""Merge of data folders and re-split of one folder; tars are linked or samples copied unchanged.

No samples are decoded and no recordings are read.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import digest
from imu_video.errors import ConfigError, LeakageError, ShardError
from imu_video.modalities.base import counted_streams, lacking_key, stream_of
from imu_video.recordings.splits import SplitConfig, assign
from imu_video.runtime.files import file_sha256, is_free, sync_file, sync_folder
from imu_video.runtime.journal import Journal, kept_when_interrupted
from imu_video.shards.names import shard_name
from imu_video.shards.publish import DATA_FOLDER, partial_folder, publish
from imu_video.shards.quality_report import QualityReport, join_reports, of_people, read_report, write_report
from imu_video.shards.reading.arrays import CheckedArray
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import Rows, carry_caches
from imu_video.shards.schema import (
    SCHEMA_VERSION,
    SHARD_FOLDER,
    BuildFacts,
    Index,
    SampleMeta,
    ShardEntry,
    SourceFacts,
    SplitEntry,
    identity,
)
from imu_video.shards.write import ShardWriter
from imu_video.version import __version__

logger = logging.getLogger(__name__)
_ALIKE = ("channels", "units", "frame", "normalised", "rate_hz", "window_s", "samples_per_window")


def merge_folders(sources: Sequence[Index], out: str | Path, *, copy: bool = False) -> Index:
    """Merge several data folders with the same axes: tars with new numbers and one index.

    Splits of the same name become one split, in the order of the sources. If the sources come from different datasets,
    subjects and recordings are named ``<dataset>/<name>``, because ``s1`` of two datasets are two subjects; within one
    dataset the same name is the same subject. Teacher features that all sources have are merged as well.

    Args:
        sources: two or more loaded indices.
        out: the folder to be; must not exist.
        copy: copy tars and compare their hashes; without it they are hard links where the disk allows it.

    Returns:
        The index of the new folder.

    Raises:
        ConfigError: fewer than two sources, or ``out`` exists.
        ShardError: other channels, rate, window or streams; a sample key or recording that occurs
            twice; a copy with another hash.
        LeakageError: a subject in different splits.

    Example:
        >>> from imu_video.shards import load_index
        >>> demo = load_index("data/demo")
        >>> one = split_folder(demo, SplitConfig(subjects={"train": ["train0"]}), "data/one")
        >>> two = split_folder(demo, SplitConfig(subjects={"train": ["train1"]}), "data/two")
        >>> merge_folders([one, two], "data/both").split("train").samples
        12
    """
    if len(sources) < 2:
        raise ConfigError("a merge needs two data folders or more", hint="imu-video merge A B --out C")
    target = _free(out)
    for other in sources[1:]:
        _refuse_other_axes(sources[0], other)
    # Reading the sources of a folder may open a tar, so it is done once per folder.
    facts = [_sources(index) for index in sources]
    merged = _merged(sources, facts)
    named = {(number, split): _Named(merged, one, split) for number, one in enumerate(sources) for split in one.splits}
    _refuse_repeats(sources, named)
    pieces = {split: [place for place in named if place[1] == split] for split in merged.build.split_order}

    def fill(folder: Path) -> dict[str, SplitEntry]:
        (folder / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        splits = {}
        for split, places in pieces.items():
            shards: list[ShardEntry] = []
            for number, _ in places:
                for shard in sources[number].splits[split].shards:
                    path = f"{SHARD_FOLDER}/{shard_name(split, len(shards))}"
                    _place(sources[number].shard_path(shard), folder / path, shard, copy=copy)
                    shards.append(shard.model_copy(update={"path": path}))
            people = sorted(set().union(*(named[place].subjects for place in places)))
            splits[split] = SplitEntry(
                subjects=tuple(people), samples=sum(s.samples for s in shards), shards=tuple(shards)
            )
        sync_folder(folder / SHARD_FOLDER)
        return splits

    def rows(split: str, read: Callable[[Index, str], CheckedArray]) -> np.ndarray:
        return np.concatenate([read(sources[number], name) for number, name in pieces[split]])

    def report() -> QualityReport | None:
        found = [one for source in sources if (one := read_report(source.root)) is not None]
        several = len({one.name for one in merged.sources}) > 1
        prefixes = [f"{own[0].name}/" if several and len(own) == 1 else "" for own in facts]
        return join_reports(found, prefixes) if len(found) == len(sources) else None

    return _make(target, "merge", merged, fill, sources, rows, report)


def split_folder(index: Index, config: SplitConfig, out: str | Path) -> Index:
    """Re-split a data folder by subject; samples are copied unchanged and the old folder is kept.

    If all subjects are kept, the new folder equals a build with these splits. Teacher features are copied, except those
    of teachers that were fitted on the old training subjects.

    Args:
        index: a loaded index.
        config: assignment of subjects to splits.
        out: the folder to be; must not exist.

    Returns:
        The index of the new folder.

    Raises:
        ConfigError: an unknown subject, or ``out`` exists.
        LeakageError: a subject in two splits.
        ShardError: damaged shards.

    Example:
        >>> from imu_video.shards import load_index
        >>> config = SplitConfig(subjects={"train": ["train0", "train1"], "test": ["test0"]})
        >>> split_folder(load_index("data/demo"), config, "data/other").split("train").samples
        12
    """
    target = _free(out)
    old = {split: open_columns(index, split) for split in index.splits}
    mine: dict[str, list[tuple[str, int]]] = {}  # subject -> rows of the old splits
    for split, columns in old.items():
        for row, subject in enumerate(columns.subjects):
            mine.setdefault(subject, []).append((split, row))
    people = assign(sorted(mine), config)
    chosen = {split: [place for subject in subjects for place in mine[subject]] for split, subjects in people.items()}
    where = {split: _places(index, split) for split in index.splits}
    fresh = _divided(index, config, old, chosen, people, where)
    # A merged folder has no configured shard size; its largest shard takes the place of one.
    size = int(index.build.config.get("shard_samples", 0)) or max(
        shard.samples for split in index.splits.values() for shard in split.shards
    )

    def fill(folder: Path) -> dict[str, SplitEntry]:
        splits = {}
        for split, rows in chosen.items():
            with _Tars() as tars, ShardWriter(folder=folder, split=split, shard_samples=size) as writer:
                found = (where[name](row) for name, row in rows)
                for path, group in groupby(found, key=lambda place: index.shard_path(place[0])):
                    places = list(group)
                    writer.copy(places[0][0].members, [own for _, own in places], tars.open(path))
            splits[split] = SplitEntry(subjects=tuple(people[split]), samples=len(rows), shards=tuple(writer.shards))
        return splits

    def rows_of(split: str, read: Callable[[Index, str], CheckedArray]) -> np.ndarray:
        # Each old split is read once, however its rows are spread over the new splits.
        parts = {name: read(index, name) for name in {name for name, _ in chosen[split]}}
        return np.stack([parts[name][row] for name, row in chosen[split]])

    def report() -> QualityReport | None:
        order = [subject for subjects in people.values() for subject in subjects]
        found = read_report(index.root)
        # Totals of the report are those of all subjects and cannot be reduced to some of them.
        everybody = found is not None and {row.subject for row in found.findings} <= set(order) == set(mine)
        return of_people(found, order) if found is not None and everybody else None

    return _make(target, "split", fresh, fill, [index], rows_of, report)


# ------------------------------------------------------------------------------------------------------- both


def _free(out: str | Path) -> Path:
    target = Path(out)
    if not is_free(target):
        raise ConfigError(f"{target} exists", hint="name a folder that does not exist yet")
    return target


def _make(
    target: Path,
    what: str,
    facts: Index,
    fill: Callable[[Path], dict[str, SplitEntry]],
    sources: Sequence[Index],
    rows: Rows,
    report: Callable[[], QualityReport | None],
) -> Index:
    """Write shards, index, columns and teacher caches in a working folder and rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    job = {what: [index.digest for index in sources], "config": facts.build.config_digest, "version": __version__}
    work = Journal(partial_folder(target), job, what=what)
    with kept_when_interrupted(work):
        folder = work.folder / DATA_FOLDER
        shutil.rmtree(folder, ignore_errors=True)  # linking and copying is fast, so an interrupted job starts again
        fresh = {"splits": fill(folder), "schema_version": SCHEMA_VERSION}
        index = write_index(facts.model_copy(update=fresh), folder)
        quality = report()
        if quality is not None:
            write_report(quality, folder)
        else:
            logger.info(
                "quality.json is left out: a source has none or was checked with other settings, "
                "or subjects were left out"
            )
        for split in index.splits:
            open_columns(index, split)
        carry_caches(sources, index, rows)
        publish(folder, target, force=False)
        work.remove()
    return load_index(target)


# ------------------------------------------------------------------------------------------------------ merge


class _Named:
    """Keys, subjects and recordings of one split with their names in a merged folder."""

    def __init__(self, merged: Index, source: Index, split: str) -> None:
        self.keys, self.subjects, self.recordings = [], set(), set()
        qualified = len({one.name for one in source.sources}) > 1
        for sample in read_samples(source, split, {"meta"}):
            meta = SampleMeta.model_construct(**sample.meta)  # read and checked a moment ago
            meta = meta if qualified else merged.qualify(meta)
            self.keys.append(sample.key)
            self.subjects.add(meta.subject)
            self.recordings.add(meta.recording)


def _sources(index: Index) -> tuple[SourceFacts, ...]:
    """Sources of a folder: those of its index, or the folder itself."""
    if index.sources:
        return index.sources
    first = next(iter(index.splits))
    name = str(next(read_samples(index, first, {"meta"})).meta["dataset"])
    return (
        SourceFacts(
            name=name,
            dataset=index.dataset,
            licence=index.licence,
            citation=index.citation,
            url=index.url,
            index=index.digest,
            config_digest=index.build.config_digest,
        ),
    )


def _refuse_other_axes(first: Index, other: Index) -> None:
    for axis in _ALIKE:
        if getattr(first, axis) != getattr(other, axis):
            raise ShardError(
                f"{axis} is {getattr(first, axis)} in {first.root}, {getattr(other, axis)} in {other.root}",
                hint="build both with the same window section",
            )
    for stream in first.streams.keys() & other.streams.keys():
        one, two = first.streams[stream], other.streams[stream]
        if one != two:
            raise ShardError(
                f"{stream} is {one!r} in {first.root}, {two!r} in {other.root}",
                hint="build both with the same window section; streams of another form cannot be merged",
            )


def _merged(sources: Sequence[Index], facts: Sequence[tuple[SourceFacts, ...]]) -> Index:
    """The facts of a merged folder; its splits are filled in later."""
    flat = tuple(fact for own in facts for fact in own)
    first = sources[0]
    config = {"merge": [{"dataset": index.dataset, "index": index.digest} for index in sources]}
    builds = [index.build for index in sources]
    datasets = list(dict.fromkeys(fact.dataset for fact in flat))
    several = len({fact.name for fact in flat}) > 1

    def joined(name: str) -> str:
        texts = {fact.dataset: getattr(fact, name) for fact in flat}
        return (
            next(iter(texts.values()))
            if len(set(texts.values())) == 1
            else "; ".join(f"{dataset}: {text}" for dataset, text in texts.items() if text)
        )

    unused = [
        f"{own[0].name}/{subject}" if several and not index.sources else subject
        for index, own in zip(sources, facts, strict=True)
        for subject in index.build.unused_subjects
    ]
    return first.model_copy(
        update={
            "dataset": "+".join(datasets),
            "licence": joined("licence"),
            "citation": joined("citation"),
            "url": joined("url"),
            "gravity": first.gravity if len({index.gravity for index in sources}) == 1 else "mixed",
            "placements": tuple(sorted({p for index in sources for p in index.placements})),
            # Reversed, so that the specification of the first source that has a stream is kept.
            "streams": {name: spec for index in reversed(sources) for name, spec in index.streams.items()},
            "labels": tuple(sorted({label for index in sources for label in index.labels})),
            "tags": {
                tag: tuple(sorted({value for index in sources for value in index.tags.get(tag, ())}))
                for tag in sorted({tag for index in sources for tag in index.tags})
            },
            "sources": flat,
            "build": BuildFacts(
                config=config,
                config_digest=digest(config),
                version=__version__,
                recordings=sum(b.recordings for b in builds),
                empty_recordings=sum(b.empty_recordings for b in builds),
                windows=sum(b.windows for b in builds),
                dropped=_sum(b.dropped for b in builds),
                without=_sum(b.without for b in builds),
                split_order=tuple(dict.fromkeys(split for index in sources for split in index.splits)),
                unused_subjects=tuple(sorted(unused)),
                left_out=sum(b.left_out for b in builds),
            ),
        }
    )


def _sum(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total += Counter(one)
    return dict(sorted(total.items()))


def _refuse_repeats(sources: Sequence[Index], named: Mapping[tuple[int, str], _Named]) -> None:
    keys: dict[str, int] = {}
    recordings: dict[str, int] = {}
    owner: dict[str, str] = {}
    for (number, split), names in named.items():
        root = sources[number].root
        for what, values, seen in (("sample", names.keys, keys), ("recording", names.recordings, recordings)):
            for value in values:
                if seen.setdefault(value, number) != number:
                    raise ShardError(
                        f"{what} {value!r} is in {sources[seen[value]].root} and in {root}",
                        hint="merge folders that contain different recordings",
                    )
        for subject in sorted(names.subjects):
            if owner.setdefault(subject, split) != split:
                raise LeakageError(
                    f"subject {subject!r} is in split {owner[subject]!r} and in split {split!r} of {root}",
                    hint="re-split one of the folders first: imu-video split DATA NEW SPLITS.yaml",
                )


def _place(source: Path, target: Path, shard: ShardEntry, *, copy: bool) -> None:
    """Link a tar, or copy it and check the copy."""
    if not copy:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another disk, or one without hard links
    shutil.copyfile(source, target)
    found = file_sha256(target)
    if found != shard.sha256:
        raise ShardError(
            f"{source}: sha256 {found[:12]}..., index.json has {shard.sha256[:12]}...",
            hint=f"imu-video verify {source.parent.parent}",
        )
    sync_file(target)


# ------------------------------------------------------------------------------------------------------ split


class _Tars:
    """Keeps the last tar open, because samples of a subject are adjacent."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: Any = None

    def open(self, path: Path) -> Any:
        if path != self._path:
            self.__exit__()
            self._path, self._file = path, path.open("rb")
        return self._file

    def __enter__(self) -> _Tars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._path = self._file = None


Place = Callable[[int], tuple[ShardEntry, int]]
"""Shard of a row of a split, and the row in the shard."""


def _places(index: Index, split: str) -> Place:
    shards = index.splits[split].shards
    ends = np.cumsum([shard.samples for shard in shards])

    def place(row: int) -> tuple[ShardEntry, int]:
        number = int(np.searchsorted(ends, row, side="right"))
        return shards[number], row - int(ends[number]) + shards[number].samples

    return place


def _divided(
    index: Index,
    config: SplitConfig,
    old: Mapping[str, Columns],
    chosen: Mapping[str, list[tuple[str, int]]],
    people: Mapping[str, list[str]],
    where: Mapping[str, Place],
) -> Index:
    """The facts of a re-split folder; its splits are filled in later."""
    rows = [place for split in chosen.values() for place in split]
    everybody = {subject for columns in old.values() for subject in columns.subjects}
    kept = {subject for subjects in people.values() for subject in subjects}
    facts: dict[str, Any] = {"splits": config.model_dump(mode="json")}
    if kept != everybody:
        facts["split_of"] = index.digest  # counts of recordings and drops cannot be told apart by person any more
    new_config = {**index.build.config, **facts}
    kinds: Counter[str] = Counter()
    for split, row in rows:
        shard, own = where[split](row)
        kinds.update(map(stream_of, shard.members.suffixes(own)))
    labels = [old[split].labels[row] for split, row in rows]
    tags: dict[str, set[str]] = {}
    for split, row in rows:
        for tag, value in old[split].tags[row].items():
            tags.setdefault(tag, set()).add(value)
    present = np.any([old[split].present[[r for s, r in rows if s == split]].any(axis=0) for split in old], axis=0)
    placements = tuple(p for p, there in zip(index.placements, present, strict=True) if there)
    streams = {stream: spec for stream, spec in index.streams.items() if kinds[stream]}
    without = {lacking_key(stream): len(rows) - kinds[stream] for stream in counted_streams(streams)}
    without |= {"label": labels.count(None)}
    build = index.build.model_copy(
        update={
            "config": new_config,
            "config_digest": identity(new_config, index.build.provenance),
            "split_order": tuple(chosen),
            "without": dict(sorted((what, n) for what, n in without.items() if n)),
            "unused_subjects": tuple(sorted({*index.build.unused_subjects, *(everybody - kept)})),
        }
    )
    return index.model_copy(
        update={
            "placements": placements,
            "labels": tuple(sorted({label for label in labels if label is not None})),
            "tags": {tag: tuple(sorted(values)) for tag, values in sorted(tags.items())},
            "streams": streams,
            "build": build,
        }
    )
