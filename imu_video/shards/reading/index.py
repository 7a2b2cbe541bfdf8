"""The index of a data folder: load and write; verify.py compares it with the shards, repair.py rebuilds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from imu_video.config import Config, dump_yaml
from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.documents import parse_json, read_bytes, read_json, validate
from imu_video.runtime.files import (
    file_sha256,
    move_file,
    open_atomic,
    remove_dead_leftovers,
    temporary_path,
    write_atomic,
)
from imu_video.shards.member_list import first_repeat
from imu_video.shards.members import Members, MembersFile
from imu_video.shards.remote import INDEX_LIMIT, Address, RemoteFolder, is_address
from imu_video.shards.schema import (
    DROPPED_FILE,
    FACTS_FILE,
    INDEX_FILE,
    LEFT_OUT_FILE,
    MEMBERS_GLOB,
    QUALITY_FILE,
    SCHEMA_VERSION,
    SHARD_FOLDER,
    Facts,
    Index,
    MembersEntry,
    ShardEntry,
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
            unknown keys, a members file that is missing or damaged, samples that are not in the order of their tar, a
            sample, shard or subject that is listed twice, or a shard that is missing or has another size.

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
    hint = f"imu-video verify {root} --repair"
    index, stored = parse_index(read_json(file, error=ShardError, hint=hint, limit=INDEX_LIMIT), file, hint)
    if stored is not None:
        index = _located(index, MembersFile(root / stored.file, stored.bytes, hint=hint), file, hint)
    _refuse_repeats(index, file, hint)
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
        raw = parse_json(read_bytes(incoming, limit=INDEX_LIMIT), where, error=ShardError, hint=hint, limit=INDEX_LIMIT)
        index, stored = parse_index(raw, where, hint)
        root = home / index.digest
        root.mkdir(exist_ok=True)
        move_file(incoming, root / INDEX_FILE)
    finally:
        incoming.unlink(missing_ok=True)
    if stored is not None:
        file = remote.local(stored.file, root, size=stored.bytes, sha256=stored.sha256)
        try:
            index = _located(index, MembersFile(file, stored.bytes, hint=hint), where, hint)
        except ShardError:
            if file_sha256(file) == stored.sha256:  # the file is what the address has
                raise
            file.unlink()
            file = remote.local(stored.file, root, size=stored.bytes, sha256=stored.sha256)
            index = _located(index, MembersFile(file, stored.bytes, hint=hint), where, hint)
    _refuse_repeats(index, where, hint)
    tables = [LEFT_OUT_FILE] * (index.build.left_out > 0) + [DROPPED_FILE] * (len(index.build.dropped) > 0)
    for name in (FACTS_FILE, QUALITY_FILE, *tables):
        if not (root / name).is_file():
            with suppress(ShardError):  # older folders have no quality report
                remote.fetch(name, root / name)
    return index.at(root, remote)


def parse_index(raw: Any, file: Path | str, hint: str) -> tuple[Index, MembersEntry | None]:
    """The content of index.json as models; with schema version 2 the members are not read yet.

    Args:
        raw: the JSON value.
        file: named in messages.
        hint: of the errors.

    Returns:
        The index, and its members file; None for schema version 1.

    Raises:
        ShardError: another type or version, unknown or missing keys, values of another type or outside their range.
        ConfigError: a stream of a modality that no loaded plugin registers.
    """
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
    rest = {key: value for key, value in raw.items() if key != "members"}
    try:
        index = validate(Index, rest if version != 1 else raw, str(file), error=ShardError, hint=hint)
        stored = None
        if index.schema_version > 1:
            stored = validate(_Stored, {"members": raw.get("members")}, str(file), error=ShardError, hint=hint).members
    except ConfigError as error:  # a stream of a modality that no loaded plugin registers
        raise ConfigError(f"{file}: {error.message}", hint=error.hint) from error
    except ShardError as error:  # of a member's name: the models do not know the file
        if error.message.startswith(str(file)):
            raise
        raise ShardError(f"{file}: {error.message}", hint=hint) from error
    for shard in _shards(index):
        if (shard.members.facts.at is not None) != (stored is not None):
            form = "members" if stored is not None else "keys"
            raise ShardError(
                f"{file}: {shard.path}: schema version {index.schema_version} lists {form}, this entry does not",
                hint=hint,
            )
    return index, stored


class _Stored(Config):
    members: MembersEntry


def _located(index: Index, file: MembersFile, where: Path | str, hint: str) -> Index:
    """The index with the members of every shard, which are read and checked once, one shard at a time."""
    splits = {}
    try:
        # Read, not mapped, so that pages of a large file do not count as memory of this process.
        with file.path.open("rb") as stream:
            for name, split in index.splits.items():
                shards = []
                for shard in split.shards:
                    located = shard.model_copy(update={"members": shard.members.located(file)})
                    _check_block(shard, stream, file)
                    shards.append(located)
                splits[name] = split.model_copy(update={"shards": tuple(shards)})
    except OSError as error:
        raise ShardError(f"{file.path}: {error.strerror}", hint=hint) from error
    except (ValueError, ShardError) as error:
        message = error.message if isinstance(error, ShardError) else str(error)
        raise ShardError(message if str(file.path) in message else f"{where}: {message}", hint=hint) from error
    return index.model_copy(update={"splits": splits})


def _check_block(shard: ShardEntry, stream: Any, file: MembersFile) -> None:
    facts = shard.members.facts
    file.view(facts.at or 0, facts.block_bytes)  # refuses a position outside the file before anything is read
    stream.seek(facts.at)
    block = stream.read(facts.block_bytes)
    if hashlib.sha256(block).hexdigest() != facts.sha256:
        raise file.refuse(f"the members of {shard.path} differ from their sha256 in {INDEX_FILE}")
    shard.model_copy(update={"members": Members(facts, block)}).check_members()


def _refuse_repeats(index: Index, file: Path | str, hint: str) -> None:
    for problem in repeats(index):
        raise ShardError(f"{file}: {problem}", hint=hint)


def repeats(index: Index) -> Iterator[str]:
    """Shards, subjects and sample keys that an index lists twice, one line per kind and repetition."""
    owner: dict[str, str] = {}
    for name, split in index.splits.items():
        for shard in split.shards:
            if shard.path in owner:
                yield f"{shard.path} is listed in split {owner[shard.path]!r} and again in split {name!r}"
            owner.setdefault(shard.path, name)
    people: dict[str, str] = {}
    for name, split in index.splits.items():
        for subject in split.subjects:
            if subject in people:
                yield f"subject {subject!r} is listed in split {people[subject]!r} and again in split {name!r}"
            people.setdefault(subject, name)
    places = [(name, shard) for name, split in index.splits.items() for shard in split.shards]
    found = first_repeat([shard.members for _, shard in places])
    if found is not None:
        key, first, second = found
        (one, a), (two, b) = places[first], places[second]
        yield f"sample {key!r} is in {a.path} of split {one!r} and in {b.path} of split {two!r}"


def write_index(index: Index, root: Path) -> Index:
    """Write index.json, build.yaml and the members file atomically; returns the index located at ``root``.

    Raises:
        ShardError: a shard, subject or sample key is listed twice, or a shard whose checksums are not known is missing.
    """
    _refuse_repeats(index, root / INDEX_FILE, "build the folder again")
    if index.schema_version == 1:
        data = index.plain()
    else:
        index = _with_checksums(index, root)
        data = {**index.plain(), "members": _write_members(index, root).model_dump()}
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in data.items()
    )
    known = Facts.keys()
    facts = {key: value for key, value in data.items() if key in known}
    for name in (FACTS_FILE, INDEX_FILE):
        remove_dead_leftovers(root, name=name)
    write_atomic(root / FACTS_FILE, _FACTS_HEADER + dump_yaml(facts))
    write_atomic(root / INDEX_FILE, f"{{\n{lines}\n}}\n")
    for other in root.glob(MEMBERS_GLOB):  # of the index that was replaced
        if other.name != data.get("members", {}).get("file"):
            other.unlink(missing_ok=True)
    return index.at(root)


def _write_members(index: Index, root: Path) -> MembersEntry:
    """Write the blocks of all shards; the name has the hash, so that the file of a replaced index stays until then."""
    whole, size = hashlib.sha256(), 0
    for shard in _shards(index):
        block = shard.members.block()
        whole.update(block)
        size += len(block)
    entry = MembersEntry(file=f"members-{whole.hexdigest()[:12]}.bin", bytes=size, sha256=whole.hexdigest())
    remove_dead_leftovers(root, name=entry.file)
    with open_atomic(root / entry.file) as file:
        for shard in _shards(index):
            file.write(shard.members.block())
    return entry


def _with_checksums(index: Index, root: Path) -> Index:
    """The index with the checksum of every member; those of shards of early versions are computed from the tars."""
    from imu_video.shards.reading.repair import shard_entry

    if all(shard.members.has_crc32 for shard in _shards(index)):
        return index
    splits = {}
    for name, split in index.splits.items():
        shards = []
        for shard in split.shards:
            if not shard.members.has_crc32:
                read, _ = shard_entry(root / shard.path)
                if (read.sha256, read.keys) != (shard.sha256, shard.keys):
                    raise ShardError(
                        f"{root / shard.path}: differs from the index: sha256 {read.sha256[:12]}..., expected "
                        f"{shard.sha256[:12]}...",
                        hint="imu-video verify DATA for the folder that it was copied from",
                    )
                shard = read
            shards.append(shard)
        splits[name] = split.model_copy(update={"shards": tuple(shards)})
    return index.model_copy(update={"splits": splits})


def _shards(index: Index) -> list[ShardEntry]:
    return [shard for split in index.splits.values() for shard in split.shards]
