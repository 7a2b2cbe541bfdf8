"""Compares a data folder with its index, byte by byte, and lists what was compared; nothing is changed here."""

from __future__ import annotations

from dataclasses import dataclass, field

from imu_video.errors import ImuVideoError, ShardError
from imu_video.modalities.base import modality_of, stream_of
from imu_video.runtime.content import shown
from imu_video.runtime.documents import parse_json
from imu_video.runtime.files import file_sha256
from imu_video.shards.members import Members
from imu_video.shards.names import parse_shard_name
from imu_video.shards.reading.index import repeats
from imu_video.shards.reading.pipeline import OpenShard, decode_meta
from imu_video.shards.reading.repair import read_facts, scan_shard
from imu_video.shards.reading.verify_arrays import verify_arrays
from imu_video.shards.schema import FACTS_FILE, INDEX_FILE, META, Facts, Index, SampleMeta, ShardEntry


@dataclass(kw_only=True)
class Verification:
    """What `verify` compared, and what it found.

    Args:
        checked: kind of thing (``shards``, ``samples``, ``members``) -> number that was compared.
        problems: one line per problem; empty if there are none.
        notes: what could not be compared, and how it can be.

    Example:
        >>> found = Verification()
        >>> found.count("shards", 2)
        >>> found.summary()
        '2 shards'
    """

    checked: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, kind: str, number: int = 1) -> None:
        """Add to the number of compared things of a kind."""
        self.checked[kind] = self.checked.get(kind, 0) + number

    def summary(self) -> str:
        """The numbers in one line."""
        return ", ".join(f"{number} {kind}" for kind, number in self.checked.items()) or "nothing"


def verify(index: Index, *, deep: bool = True, derived: bool = True) -> Verification:
    """Compare the shards, and the arrays derived from them, with the index.

    Args:
        index: a loaded index.
        deep: also hash every shard, compare every member with its checksum, decode it, and check the subject,
            recording and label of every sample; otherwise presence, size and repeated entries only.
        derived: also compare the facts with build.yaml, and with ``deep`` check the derived arrays; False while the
            index is being rebuilt.

    Returns:
        What was compared, and one line per problem.
    """
    found = Verification()
    found.problems += repeats(index)
    found.problems += _other_facts(index) if derived else []
    seen: dict[str, dict[str, str]] = {"subject": {}, "recording": {}}
    for name, split in index.splits.items():
        for shard in split.shards:
            path = index.shard_path(shard)
            found.count("shards")
            named = parse_shard_name(path.name)
            if named is not None and named[0] != name:
                found.problems.append(f"{shard.path}: listed in split {name!r}")
            if not path.is_file():
                found.problems.append(f"{shard.path}: missing")
            elif path.stat().st_size != shard.bytes:
                found.problems.append(f"{shard.path}: {path.stat().st_size} bytes, expected {shard.bytes}")
            elif deep:
                _verify_shard(index, name, shard, seen, found)
    if deep and derived:
        arrays = verify_arrays(index)
        found.count("derived arrays", len(arrays.arrays))
        found.count("blocks of their rows", arrays.blocks)
        found.problems += arrays.problems
        found.notes += arrays.notes
    return found


def _other_facts(index: Index) -> list[str]:
    """Facts that differ from build.yaml, which holds the same ones: rate, units, channels, licence and so on."""
    file = index.root / FACTS_FILE
    if not file.is_file():  # of a remote folder whose server lacks it, and of an early version
        return []
    try:
        facts = read_facts(file)
    except ImuVideoError as error:
        return [f"{FACTS_FILE}: {error.message.removeprefix(f'{file}: ')}"]
    here, there = Facts.plain(index), facts.plain()
    return [
        f"{INDEX_FILE} and {FACTS_FILE} differ in {key!r}: {shown(here.get(key))} and {shown(there.get(key))}"
        for key in dict.fromkeys((*here, *there))
        if here.get(key) != there.get(key)
    ]


def _verify_shard(
    index: Index, split: str, shard: ShardEntry, seen: dict[str, dict[str, str]], found: Verification
) -> None:
    path = index.shard_path(shard)
    sha256 = file_sha256(path)
    if sha256 != shard.sha256:
        found.problems.append(
            f"{shard.path}: sha256 {sha256[:12]}..., expected {shard.sha256[:12]}...{_damaged(index, shard)}"
        )
        return
    try:
        places = scan_shard(path)
    except ShardError as error:
        found.problems.append(error.message)
        return
    difference = _first_difference(places, shard.members)
    if difference:
        found.problems.append(f"{shard.path}: members differ from the index at {difference}")
        return
    with OpenShard(index, shard, in_order=True) as opened:
        for row, (key, listed) in enumerate(places.items()):
            found.count("samples")
            try:
                meta = _verify_sample(index, key, {suffix: opened.member(row, suffix) for suffix in listed})
                found.count("members", len(listed))
            except ShardError as error:
                found.problems.append(f"{shard.path}: {error.message.removeprefix(f'{path}: ')}")
                continue
            if meta.subject not in index.splits[split].subjects:
                found.problems.append(f"{shard.path}: {key}: subject {meta.subject!r} is not one of split {split!r}")
            for what, value in (("subject", meta.subject), ("recording", meta.recording)):
                other = seen[what].setdefault(value, split)
                if other != split:
                    found.problems.append(f"{shard.path}: {key}: {what} {value!r} also occurs in split {other!r}")


def _damaged(index: Index, shard: ShardEntry) -> str:
    """The samples of a changed shard that differ from their checksums, for a message; empty without checksums."""
    if not shard.members.has_crc32:
        return ""
    lost = []
    with OpenShard(index, shard, in_order=True) as opened:
        for row in range(shard.samples):
            try:
                opened.sample(row)
            except ShardError:
                lost.append(shard.members.key(row))
    return f"; {len(lost)} of {shard.samples} samples damaged{f', the first: {lost[0]!r}' if lost else ''}"


def _verify_sample(index: Index, key: str, members: dict[str, bytes]) -> SampleMeta:
    if "meta.json" not in members:
        raise ShardError(f"sample {key!r} has no meta.json")
    # The reader of samples uses a faster parser, which takes the last of two equal keys.
    parse_json(members["meta.json"], f"sample {key!r}, meta.json", error=ShardError)
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


def _first_difference(found: dict[str, dict[str, tuple[int, int]]], listed: Members) -> str:
    """Where the members of a tar first differ from those of the index, in row order; empty where they are equal."""
    for row, (key, places) in enumerate(found.items()):
        if row >= len(listed) or listed.key(row) != key:
            other = repr(listed.key(row)) if row < len(listed) else "no sample"
            return f"row {row}: the tar has sample {key!r}, the index has {other}"
        if listed.places(row) != places:
            return f"sample {key!r}"
    return "" if len(found) == len(listed) else f"row {len(found)}: the index has more samples than the tar"
