"""The index of a data folder: load, verify against the shards, rebuild from them; samples are read in pipeline.py."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from imu_video.config import dump_yaml
from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.base import modality_of, stream_of
from imu_video.runtime.files import file_sha256, move_file, remove_dead_leftovers, temporary_path, write_atomic
from imu_video.shards.reading.pipeline import decode_meta, open_tar
from imu_video.shards.remote import Address, RemoteFolder, is_address
from imu_video.shards.schema import (
    DROPPED_FILE,
    FACTS_FILE,
    INDEX_FILE,
    LEFT_OUT_FILE,
    META,
    QUALITY_FILE,
    SCHEMA_VERSION,
    SHARD_FOLDER,
    Facts,
    Index,
    SampleMeta,
    ShardEntry,
    SplitEntry,
    check_member,
    parse_member,
    parse_shard_name,
)

_FACTS_HEADER = (
    "# How this folder was made. `imu-video verify --repair` rebuilds index.json from this file and the shards.\n"
)


def load_index(path: str | Path, *, check_shards: bool = True) -> Index:
    """Read the index of a data folder and check that its shards exist with the expected size.

    Args:
        path: the data folder, or its index.json; or the address of one (``s3://``, ``gs://``, ``http://``,
            ``https://``, ``hf://``), whose files are fetched on demand.
        check_shards: False leaves missing and cut-off shards to the reader's error policy.

    Returns:
        The index; ``index.root`` is the folder.

    Raises:
        ShardError: no such folder, no index, an index that is not JSON, lists no shards, has a newer schema version or
            unknown keys, or a shard that is missing or has another size.

    Example:
        >>> load_index("data/demo").split("train").samples
        48
    """
    if is_address(path):
        return _load_remote(RemoteFolder(Address.parse(path)))
    given = Path(path)
    file = given if given.name == INDEX_FILE else given / INDEX_FILE
    root = file.parent
    if not file.is_file():
        if root.is_dir() and list((root / SHARD_FOLDER).glob("*.tar")):
            raise ShardError(f"{root}: shards without {INDEX_FILE}", hint=f"imu-video verify {root} --repair")
        what = f"no {INDEX_FILE} in it" if root.is_dir() else "no such folder"
        raise ShardError(f"data folder {root}: {what}", hint=f"imu-video build CONFIG.yaml {root}")
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ShardError(f"{file}: not readable as JSON: {error}", hint=f"imu-video verify {root} --repair") from error
    index = _parse(raw, file, f"imu-video verify {root} --repair")
    for shard in _shards(index) if check_shards else ():
        where = root / shard.path
        if not where.is_file():
            raise ShardError(
                f"{file} lists {shard.path}, which is missing", hint="restore it, or build the folder again"
            )
        size = where.stat().st_size
        if size != shard.bytes:
            raise ShardError(
                f"{where} has {size} bytes, the index has {shard.bytes}",
                hint="the copy is incomplete or changed: copy it again, or build the folder again",
            )
    return index.at(root)


def _load_remote(remote: RemoteFolder) -> Index:
    """The index at an address, fetched on every call; its cache folder is named by address and digest."""
    home = remote.cache.folder / remote.address.slug
    home.mkdir(parents=True, exist_ok=True)
    incoming = temporary_path(home / INDEX_FILE)
    where = f"{remote.address}/{INDEX_FILE}"
    hint = "repair the folder at its origin: imu-video verify DATA --repair"
    try:
        remote.fetch(INDEX_FILE, incoming)
        index = _parse(json.loads(incoming.read_bytes()), where, hint)
        root = home / index.digest
        root.mkdir(exist_ok=True)
        move_file(incoming, root / INDEX_FILE)
    except ValueError as error:
        raise ShardError(f"{where}: not readable as JSON: {error}", hint=hint) from None
    finally:
        incoming.unlink(missing_ok=True)
    tables = [LEFT_OUT_FILE] * (index.build.left_out > 0) + [DROPPED_FILE] * (len(index.build.dropped) > 0)
    for name in (FACTS_FILE, QUALITY_FILE, *tables):
        if not (root / name).is_file():
            with suppress(ShardError):  # older folders have no quality report
                remote.fetch(name, root / name)
    return index.at(root, remote)


def _parse(raw: Any, file: Path | str, hint: str) -> Index:
    if not isinstance(raw, dict):
        raise ShardError(f"{file}: expected a JSON object, got {type(raw).__name__}", hint=hint)
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ShardError(
            f"{file} has schema version {version}, this imu_video reads up to {SCHEMA_VERSION}",
            hint="pip install --upgrade imu-video",
        )
    splits = raw.get("splits")
    if not isinstance(splits, dict) or not any(isinstance(s, dict) and s.get("shards") for s in splits.values()):
        raise ShardError(f"{file} lists no shards", hint=hint)
    try:
        return Index.model_validate(raw)
    except ConfigError as error:  # a stream of a modality that no loaded plugin registers
        raise ConfigError(f"{file}: {error.message}", hint=error.hint) from error
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ShardError(f"{file}: {key}: {fault['msg']}", hint=hint) from error


def write_index(index: Index, root: Path) -> Index:
    """Write index.json and build.yaml atomically; returns the index located at ``root``."""
    data = index.plain()
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in data.items()
    )
    known = Facts.keys()
    facts = {key: value for key, value in data.items() if key in known}
    for name in (FACTS_FILE, INDEX_FILE):
        remove_dead_leftovers(root, name=name)
    write_atomic(root / FACTS_FILE, _FACTS_HEADER + dump_yaml(facts))
    write_atomic(root / INDEX_FILE, f"{{\n{lines}\n}}\n")
    return index.at(root)


def verify(index: Index, *, deep: bool = True) -> list[str]:
    """Compare the shards with the index.

    Args:
        index: a loaded index.
        deep: also hash every shard, read every member and check splits for shared subjects, recordings and keys;
            otherwise presence and size only.

    Returns:
        One line per problem; empty if there are none.
    """
    problems: list[str] = []
    seen: dict[str, dict[str, str]] = {"key": {}, "subject": {}, "recording": {}}
    for name, split in index.splits.items():
        for shard in split.shards:
            path = index.shard_path(shard)
            if not path.is_file():
                problems.append(f"{shard.path}: missing")
            elif path.stat().st_size != shard.bytes:
                problems.append(f"{shard.path}: {path.stat().st_size} bytes, expected {shard.bytes}")
            elif deep:
                problems += _verify_shard(index, name, shard, seen)
    return problems


def _verify_shard(index: Index, split: str, shard: ShardEntry, seen: dict[str, dict[str, str]]) -> list[str]:
    path = index.shard_path(shard)
    sha256 = file_sha256(path)
    if sha256 != shard.sha256:
        return [f"{shard.path}: sha256 {sha256[:12]}..., expected {shard.sha256[:12]}..."]
    try:
        found = scan_shard(path)
    except ShardError as error:
        return [error.message]
    if found != shard.keys:
        return [f"{shard.path}: members differ from the index at {_first_difference(found, shard.keys)}"]
    problems = []
    with path.open("rb") as file:
        for key, members in found.items():

            def data(suffix: str, members: dict[str, tuple[int, int]] = members) -> bytes:
                file.seek(members[suffix][0])
                return file.read(members[suffix][1])

            try:
                meta = _verify_sample(index, key, {suffix: data(suffix) for suffix in members})
            except ShardError as error:
                problems.append(f"{shard.path}: {error.message}")
                continue
            if meta.subject not in index.splits[split].subjects:
                problems.append(f"{shard.path}: {key}: subject {meta.subject!r} is not one of split {split!r}")
            for what, value in (("key", key), ("subject", meta.subject), ("recording", meta.recording)):
                other = seen[what].setdefault(value, split)
                if other != split:
                    problems.append(f"{shard.path}: {key}: {what} {value!r} also occurs in split {other!r}")
    return problems


def _verify_sample(index: Index, key: str, members: dict[str, bytes]) -> SampleMeta:
    if "meta.json" not in members:
        raise ShardError(f"sample {key!r} has no meta.json")
    meta = index.qualify(decode_meta(members["meta.json"], key))
    devices = [suffix for suffix in members if suffix.startswith("imu.")]
    if not devices:
        raise ShardError(f"sample {key!r} has no IMU device")
    for suffix in devices:
        if suffix.split(".")[1] not in index.placements:
            raise ShardError(f"sample {key!r}: placement of {suffix!r} is not one of {list(index.placements)}")
    for suffix, content in members.items():
        stream = stream_of(suffix)
        if stream != META:
            try:
                modality_of(stream).verify(content, f"{key}.{suffix}", index.spec(stream))
            except ShardError as error:
                raise ShardError(f"sample {key!r}: {error.message}") from error
    if meta.label is not None and meta.label not in index.labels:
        raise ShardError(f"sample {key!r}: label {meta.label!r} is not one of {list(index.labels)}")
    return meta


def _first_difference(found: dict[str, Any], listed: dict[str, Any]) -> str:
    for key in sorted(found.keys() | listed.keys()):
        if found.get(key) != listed.get(key):
            return f"sample {key!r}"
    return "the order of samples"


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
            entry, metas = _shard_entry(numbered[number])
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
    problems = verify(index.at(root))
    if problems:
        raise ShardError(f"{root}: the shards do not fit build.yaml: {problems[0]}", hint="build the folder again")
    return write_index(index, root), notes


def _shard_entry(path: Path) -> tuple[ShardEntry, list[SampleMeta]]:
    keys = scan_shard(path)
    metas = []
    crc32: dict[str, dict[str, int]] = {}
    with path.open("rb") as file:
        for key, members in keys.items():
            if "meta.json" not in members:
                raise ShardError(f"{path}: sample {key!r} has no meta.json")
            crc32[key] = {}
            for suffix, (offset, size) in members.items():
                file.seek(offset)
                data = file.read(size)
                crc32[key][suffix] = zlib.crc32(data)
                if suffix == "meta.json":
                    metas.append(decode_meta(data, key))
    entry = ShardEntry(
        path=f"{SHARD_FOLDER}/{path.name}",
        samples=len(keys),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        keys=keys,
        crc32=crc32,
    )
    return entry, metas


def _facts(root: Path) -> Facts:
    reasons = []
    for name in (FACTS_FILE, INDEX_FILE):
        file = root / name
        try:
            text = file.read_text(encoding="utf-8")
            raw = yaml.safe_load(text) if name == FACTS_FILE else json.loads(text)
            known = Facts.keys()
            return Facts.model_validate({key: raw[key] for key in known if key in raw})
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}")
        except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
            first_line = re.split(r"\n", str(error), maxsplit=1)[0]
            reasons.append(f"{name}: {type(error).__name__}: {first_line}")
    raise ShardError(
        f"{root}: units, rate and licence cannot be recovered from the shards alone ({'; '.join(reasons)})",
        hint=f"build the folder again: imu-video build CONFIG.yaml {root} --force",
    )


def _listed_shards(root: Path) -> dict[str, set[int]]:
    """Split -> shard numbers that the old index lists; empty if unreadable, because repair must work without it."""
    numbers: dict[str, set[int]] = defaultdict(set)
    try:
        old = Index.model_validate(json.loads((root / INDEX_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return numbers
    for shard in _shards(old):
        parsed = parse_shard_name(Path(shard.path).name)
        if parsed is not None:
            numbers[parsed[0]].add(parsed[1])
    return numbers


def _shards(index: Index) -> list[ShardEntry]:
    return [shard for split in index.splits.values() for shard in split.shards]
