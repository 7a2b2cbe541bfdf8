"""Rebuilds the index of a data folder from its shards; nothing is read from recordings."""

from __future__ import annotations

import tarfile
import zlib
from collections import defaultdict
from pathlib import Path

from imu_video.errors import ImuVideoError, ShardError
from imu_video.runtime.documents import YAML_LIMIT, read_json, read_yaml, validate
from imu_video.runtime.files import file_sha256
from imu_video.shards.member_list import MemberList
from imu_video.shards.names import check_member, parse_member, parse_shard_name
from imu_video.shards.reading.index import parse_index, write_index
from imu_video.shards.reading.pipeline import decode_meta, open_tar
from imu_video.shards.remote import INDEX_LIMIT
from imu_video.shards.schema import (
    FACTS_FILE,
    INDEX_FILE,
    SHARD_FOLDER,
    Facts,
    Index,
    SampleMeta,
    ShardEntry,
    SplitEntry,
)


def scan_shard(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Member positions in one tar: key -> suffix -> (offset, size), in tar order.

    Raises:
        ShardError: not a plain tar, cut off, links or folders in it, illegal member names, or
            a sample whose members are not contiguous.
    """
    keys: dict[str, dict[str, tuple[int, int]]] = {}
    last = None
    with open_tar(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for info in tar:
                    if not info.isreg():
                        raise ShardError(f"{path}: {info.name!r} is not a plain file")
                    key, suffix = parse_member(info.name)
                    check_member(key, suffix, info.size)
                    members = keys.setdefault(key, {})
                    if suffix in members or (last != key and members):
                        raise ShardError(f"{path}: sample {key!r} occurs twice")
                    members[suffix] = (info.offset_data, info.size)
                    last = key
        except tarfile.TarError as error:
            raise ShardError(
                f"{path}: damaged tar: {error}", hint="copy it again, or build the folder again"
            ) from error
        end = max((offset + size for members in keys.values() for offset, size in members.values()), default=0)
        if end > path.stat().st_size:
            raise ShardError(f"{path}: cut off after {path.stat().st_size} bytes", hint="copy it again")
    if not keys:
        raise ShardError(f"{path}: contains no samples")
    return keys


def repair(folder: str | Path) -> tuple[Index, list[str]]:
    """Rebuild index.json from the shards.

    Facts that the shards do not store (licence, units, rate ...) come from build.yaml, or from the old index if that
    file is missing.

    Args:
        folder: the data folder.

    Returns:
        The new index, already written, and notes on what is missing: shards and splits that build.yaml, the old
        index or the shard numbering imply.

    Raises:
        ShardError: no shards, a damaged shard, or neither build.yaml nor a readable old index.
    """
    from imu_video.shards.reading.verify import verify  # which scans shards with this module

    root = Path(folder)
    paths: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in sorted((root / SHARD_FOLDER).glob("*.tar")):
        parsed = parse_shard_name(path.name)
        if parsed is None:
            raise ShardError(f"{path}: not named <split>-<six digits>.tar", hint="move it out of the folder")
        paths[parsed[0]][parsed[1]] = path
    if not paths:
        raise ShardError(f"{root}: no shards to rebuild an index from", hint=f"imu-video build CONFIG.yaml {root}")
    facts = _facts(root)
    order = [name for name in facts.build.split_order if name in paths]
    notes = [
        f"split {name!r}: no shard left; its samples are lost" for name in facts.build.split_order if name not in paths
    ]
    splits = {}
    listed = _listed_shards(root)
    labels: set[str] = set()
    tags: dict[str, set[str]] = defaultdict(set)
    for name in [*order, *sorted(paths.keys() - set(order))]:
        numbered = paths[name]
        missing = sorted((set(range(max(numbered) + 1)) | listed[name]) - set(numbered))
        if missing:
            notes.append(f"split {name!r}: no shards numbered {missing}; their samples are lost")
        subjects: set[str] = set()
        shards = []
        for number in sorted(numbered):
            entry, metas = shard_entry(numbered[number])
            shards.append(entry)
            for meta in map(facts.qualify, metas):
                subjects.add(meta.subject)
                labels.update([meta.label] if meta.label is not None else [])
                for tag, value in meta.tags.items():
                    tags[tag].add(value)
        total = sum(shard.samples for shard in shards)
        splits[name] = SplitEntry(subjects=tuple(sorted(subjects)), samples=total, shards=tuple(shards))
    index = Index(
        **{key: getattr(facts, key) for key in Facts.model_fields},
        labels=tuple(sorted(labels)),
        tags={tag: tuple(sorted(values)) for tag, values in sorted(tags.items())},
        splits=splits,
    )
    problems = verify(index.at(root), derived=False).problems
    if problems:
        raise ShardError(f"{root}: the shards do not fit build.yaml: {problems[0]}", hint="build the folder again")
    return write_index(index, root), notes


def shard_entry(path: Path) -> tuple[ShardEntry, list[SampleMeta]]:
    """The entry of a tar, and the metadata of its samples, from reading it.

    Raises:
        ShardError: a damaged tar, or a sample without metadata.
    """
    keys = scan_shard(path)
    metas = []
    listed = MemberList()
    with path.open("rb") as file:
        for key, members in keys.items():
            if "meta.json" not in members:
                raise ShardError(f"{path}: sample {key!r} has no meta.json")
            own = []
            for suffix, (offset, size) in members.items():
                file.seek(offset)
                data = file.read(size)
                own.append((suffix, offset, size, zlib.crc32(data)))
                if suffix == "meta.json":
                    metas.append(decode_meta(data, key))
            listed.add(key, own)
    entry = ShardEntry(
        path=f"{SHARD_FOLDER}/{path.name}",
        samples=len(keys),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        members=listed.done(),
    )
    return entry, metas


def _facts(root: Path) -> Facts:
    reasons = []
    for name in (FACTS_FILE, INDEX_FILE):
        file = root / name
        try:
            return read_facts(file)
        except ImuVideoError as error:
            reasons.append(error.message.removeprefix(f"{root}/"))
    raise ShardError(
        f"{root}: units, rate and licence cannot be recovered from the shards alone ({'; '.join(reasons)})",
        hint=f"build the folder again: imu-video build CONFIG.yaml {root} --force",
    )


def read_facts(file: Path) -> Facts:
    """The facts of a folder, from its build.yaml or index.json; other keys are not read.

    Raises:
        ShardError: a file that cannot be read, or values of other types.
    """
    read, limit = (read_yaml, YAML_LIMIT) if file.name == FACTS_FILE else (read_json, INDEX_LIMIT)
    raw = read(file, error=ShardError, limit=limit)
    if not isinstance(raw, dict):
        raise ShardError(f"{file}: expected a mapping of keys, got {type(raw).__name__}")
    known = Facts.keys()
    return validate(Facts, {key: raw[key] for key in known if key in raw}, str(file), error=ShardError)


def _listed_shards(root: Path) -> dict[str, set[int]]:
    """Split -> shard numbers that the old index lists; empty if unreadable, because repair must work without it."""
    numbers: dict[str, set[int]] = defaultdict(set)
    try:
        file = root / INDEX_FILE
        old, _ = parse_index(read_json(file, error=ShardError, limit=INDEX_LIMIT), file, "")
    except ImuVideoError:
        return numbers
    for shard in (shard for split in old.splits.values() for shard in split.shards):
        parsed = parse_shard_name(Path(shard.path).name)
        if parsed is not None:
            numbers[parsed[0]].add(parsed[1])
    return numbers
