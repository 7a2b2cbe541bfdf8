"""What a data folder contains, as pydantic models; nothing here opens a file, and members.py has names and places.

docs/guides/shards.md documents the layout for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import (
    ConfigDict,
    Field,
    FiniteFloat,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    model_serializer,
    model_validator,
)

from imu_video.config import Config, digest
from imu_video.errors import ShardError, nearest
from imu_video.modalities.base import (
    StreamSpec,
    StreamSpecs,
    index_keys,
    specs_from_index,
    specs_to_index,
)
from imu_video.modalities.imu import ImuSpec
from imu_video.shards.member_list import listed
from imu_video.shards.members import Listing, Members, MembersFacts
from imu_video.shards.names import NAME_PATTERN, Name

if TYPE_CHECKING:
    from imu_video.shards.remote import RemoteFolder

SCHEMA_VERSION = 2
"""Version of the folder's layout; a reader refuses a newer one.

1: index.json lists the place of every member. 2: it lists shards, and the places are arrays in a file beside it.
"""

INDEX_FILE = "index.json"
MEMBERS_GLOB = "members-*.bin"
FACTS_FILE = "build.yaml"
QUALITY_FILE = "quality.json"
SOURCES_FILE = "sources.json"
LEFT_OUT_FILE = "left_out.json"
DROPPED_FILE = "dropped.json"
SHARD_FOLDER = "shards"
COLUMN_FOLDER = "columns"
TEACHER_FOLDER = "teachers"
QUARANTINE_FOLDER = "quarantine"

META = "meta"
"""Name of the member that holds a sample's facts, ``KEY.meta.json``."""

_PLACEMENT = r"[a-z0-9_]+"
Placement = Annotated[str, Field(pattern=rf"^{_PLACEMENT}$")]
Flag = Annotated[str, Field(pattern=rf"^{_PLACEMENT}:{_PLACEMENT}$")]


class SampleMeta(Config):
    """Content of KEY.meta.json: origin, label and metadata of one sample.

    ``start`` is in seconds on the recording's clock; ``flags`` are findings of quality checks, ``<placement>:<reason>``
    or ``video:<reason>``; ``sync`` has ``offset_s``, ``drift_ppm`` and ``score``. An absent key
    means that there are no findings or no estimate.
    """

    key: Name
    dataset: str
    recording: Name
    subject: str
    session: str
    start: float = Field(allow_inf_nan=False)
    label: str | None
    tags: dict[str, str]
    flags: tuple[Flag, ...] = ()
    sync: dict[str, FiniteFloat] | None = None

    def plain(self) -> dict[str, Any]:
        """The content as written to the member; empty ``flags`` and ``sync`` are omitted."""
        return {key: value for key, value in self if key not in ("flags", "sync") or value}


class ShardEntry(Config):
    """One tar: path in the folder, counts, hash, and the names, places and checksums of its members.

    A reader with a member's checksum can skip one damaged sample and keep the rest of the shard. Folders written by
    versions before 0.2 have no checksums.

    Accepts ``keys`` and ``crc32``, the mappings of schema version 1, in the place of ``members``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    path: str = Field(pattern=rf"^{SHARD_FOLDER}/{NAME_PATTERN}\.tar$")
    samples: int = Field(ge=1)
    bytes: int = Field(ge=1, lt=2**62)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    members: Members = Field(repr=False)

    @property
    def keys(self) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """Key -> member suffix -> (offset, size) in bytes, in row order; ``members`` is faster."""
        return Listing(self.members, "places")

    @property
    def crc32(self) -> Mapping[str, Mapping[str, int]]:
        """Key -> member suffix -> checksum; empty in a folder without checksums."""
        return Listing(self.members, "crc32")

    @classmethod
    def trusted(cls, plain: Mapping[str, Any]) -> ShardEntry:
        """Restore from `plain` without checking names and places again."""
        members = Members.restored(MembersFacts.model_construct(**{"at": None, **plain["members"]}))
        return cls.model_construct(**{**plain, "members": members})

    @property
    def identity(self) -> list[Any]:
        """What determines the rows of this shard: its bytes, and the order, places and checksums of its members."""
        return [self.sha256, self.members.identity]

    def plain(self) -> dict[str, Any]:
        """The content as JSON, places included, for a journal."""
        return {**self._head(), "members": self.members.journal()}

    def listed(self) -> dict[str, Any]:
        """The entry in index.json of schema version 1."""
        return {**self._head(), "keys": dict(self.members.all_places()), "crc32": dict(self.crc32)}

    def stored(self, at: int) -> dict[str, Any]:
        """The entry in index.json of schema version 2, with the position of its block in the members file."""
        return {**self._head(), "members": {"at": at, **self.members.identity}}

    def _head(self) -> dict[str, Any]:
        return {"path": self.path, "samples": self.samples, "bytes": self.bytes, "sha256": self.sha256}

    @model_validator(mode="before")
    @classmethod
    def _either_form(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        out = dict(data)
        if "members" not in out and "keys" in out:
            out["members"] = listed(out.pop("keys"), out.pop("crc32", None))
        elif isinstance(out.get("members"), Mapping):
            try:
                facts = MembersFacts.model_validate(out["members"])
            except ValidationError as error:
                fault = error.errors()[0]
                raise ValueError(f"members.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
            out["members"] = Members.restored(facts)
        return out

    @model_validator(mode="after")
    def _counted(self) -> ShardEntry:
        if len(self.members) != self.samples:
            raise ValueError(f"{self.path}: {self.samples} samples declared, {len(self.members)} keys listed")
        if self.members.present:
            self.check_members()
        return self

    def check_members(self) -> None:
        """Check all names and places, see `Members.check`.

        Raises:
            ShardError: an illegal key, suffix or size of a member.
            ValueError: places that do not fit.
        """
        try:
            self.members.check(self.bytes)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    @field_serializer("members")
    def _members(self, members: Members) -> dict[str, Any]:
        return members.journal()


class MembersEntry(Config):
    """The file with the members of all shards: name with the start of its hash, size and hash."""

    file: str = Field(pattern=r"^members-[0-9a-f]{12}\.bin$")
    bytes: int = Field(ge=1, lt=2**62)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class SplitEntry(Config):
    """One split: its subjects, its number of samples and its shards in reading order."""

    subjects: tuple[str, ...]
    samples: int = Field(ge=1)
    shards: tuple[ShardEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _counted(self) -> SplitEntry:
        total = sum(shard.samples for shard in self.shards)
        if total != self.samples:
            raise ValueError(f"{self.samples} samples declared, the shards contain {total}")
        return self

    @property
    def names(self) -> np.ndarray:
        """(N,) keys of all samples as bytes, in row order; no key is a Python object."""
        return np.concatenate([shard.members.names for shard in self.shards])

    def all_keys(self) -> list[str]:
        """The N keys in row order."""
        return [key for shard in self.shards for key in shard.members.all_keys()]


class SourceFile(Config):
    """One source file when it was read: size, time of last change, and sha256 if the build was asked to hash."""

    bytes: int = Field(ge=0)
    mtime_ns: int
    sha256: str | None = None

    def plain(self) -> dict[str, Any]:
        """The content as JSON."""
        return self.model_dump(exclude_none=True)


def identity(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Digest of a resolved build config and of the provenance of its recordings, see `BuildFacts`."""
    return digest({"config": config, "provenance": provenance} if provenance else config)


class BuildFacts(Config):
    """How the folder was made.

    Args:
        config: resolved build config.
        config_digest: its hash; a folder with the same hash is reused, not rebuilt.
        version: imu_video version.
        recordings: number of recordings read.
        empty_recordings: number of recordings shorter than one window.
        windows: number of windows cut, including those dropped later.
        dropped: number of dropped windows, by reason.
        without: number of kept windows that lack a clip, skeleton or label.
        split_order: names of the splits in the order of the config.
        unused_subjects: subjects of the dataset that are in no split or have no window.
        provenance: what else determined the windows: declaration, hashes of tables, code of plugins; not written if
            empty. ``config_digest`` covers it.
        left_out: number of recordings that could not be read, see left_out.json; not written if 0.
    """

    config: dict[str, Any]
    config_digest: str
    version: str
    recordings: int
    empty_recordings: int
    windows: int
    dropped: dict[str, int]
    without: dict[str, int]
    split_order: tuple[str, ...]
    unused_subjects: tuple[str, ...] = ()
    provenance: dict[str, Any] = {}
    left_out: int = 0

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Folders without provenance and damage keep the bytes that they had before these keys existed.
        return {key: value for key, value in handler(self).items() if value or key not in ("provenance", "left_out")}


class SourceFacts(Config):
    """One source folder of a merged data folder.

    Args:
        name: dataset name in its samples.
        dataset, licence, citation, url: as in its own index.
        index: digest of its index.
        config_digest: of the config that built it.
    """

    name: str
    dataset: str
    licence: str
    citation: str
    url: str = ""
    index: str
    config_digest: str


class Facts(Config):
    """Metadata that the shards do not contain.

    It is stored in both index.json and build.yaml, so that a lost index can be rebuilt.

    Args:
        schema_version: layout version.
        dataset: registered name of the source.
        licence, citation, url: terms of the source data.
        channels: the C rows of every IMU member.
        units: unit of each channel; ``1`` where it was normalised.
        gravity: whether accelerations include gravity; ``mixed``: in some recordings only.
        frame: axes of the sensor, or ``gravity``: z points up.
        normalised: ``recording`` where every channel has mean 0 and standard deviation 1 over its recording.
        rate_hz: samples per second.
        window_s: window length in seconds.
        samples_per_window: T.
        placements: the V devices, sorted: the order of the device axis.
        streams: specification of each stream of another modality. index.json stores them under the keys
            of `modalities.base.specs_to_index`.
        build: how the folder was made.
        sources: the source folders of a merged folder; not written for a folder that was built from recordings.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, strict=True, ge=1, le=SCHEMA_VERSION)
    dataset: str
    licence: str
    citation: str
    url: str = ""
    channels: tuple[str, ...]
    units: dict[str, str]
    gravity: Literal["included", "removed", "mixed"] = "included"
    frame: Literal["sensor", "gravity"] = "sensor"
    normalised: Literal["none", "recording"] = "none"
    rate_hz: float = Field(gt=0)
    window_s: float = Field(gt=0)
    samples_per_window: int = Field(ge=1)
    placements: tuple[Placement, ...] = Field(min_length=1)
    streams: StreamSpecs = {}
    build: BuildFacts
    sources: tuple[SourceFacts, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_index(cls, data: Any) -> Any:
        return specs_from_index(data) if isinstance(data, Mapping) else data

    def plain(self) -> dict[str, Any]:
        """The content as stored in index.json."""
        out: dict[str, Any] = {}
        for key, value in self.model_dump(mode="json", include=set(Facts.model_fields)).items():
            if key == "streams":
                out |= specs_to_index(self.streams)
            elif key != "sources" or value:  # only merged folders have this key
                out[key] = value
        return out

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Keys of build.yaml and of index.json that hold these facts."""
        own = [key for key in cls.model_fields if key != "streams"]
        return (*own, *index_keys())

    @property
    def imu(self) -> ImuSpec:
        """Specification of every IMU member."""
        return ImuSpec(fps=self.rate_hz, frames=self.samples_per_window, channels=self.channels)

    def spec(self, stream: str) -> StreamSpec:
        """Specification of a stream's members.

        Raises:
            ShardError: the folder has no such stream.
        """
        if stream.startswith("imu."):
            return self.imu
        if stream not in self.streams:
            raise ShardError(f"the index declares no stream {stream!r}")
        return self.streams[stream]

    def qualify(self, meta: SampleMeta) -> SampleMeta:
        """A sample's metadata with names that are unique in this folder.

        In a folder merged from several datasets, subject and recording become ``<dataset>/<name>``, because ``s1`` in
        two datasets is two different subjects.
        """
        if len({source.name for source in self.sources}) < 2:
            return meta
        names = {what: f"{meta.dataset}/{getattr(meta, what)}" for what in ("subject", "recording")}
        return meta.model_copy(update=names)


class Index(Facts):
    """Content of index.json: the facts, the sorted labels, the sorted values of each tag, and the splits.

    Example:
        >>> from imu_video.shards import load_index
        >>> index = load_index("data/demo")
        >>> index.split("train").samples
        48
    """

    labels: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]
    splits: dict[Name, SplitEntry] = Field(min_length=1)
    _root: Path | None = PrivateAttr(default=None)
    _remote: RemoteFolder | None = PrivateAttr(default=None)

    @property
    def root(self) -> Path:
        """The data folder that the index was loaded from.

        Raises:
            ShardError: the index was created in memory and has no folder.
        """
        if self._root is None:
            raise ShardError("this index was not loaded from a folder", hint="use load_index(folder)")
        return self._root

    @property
    def clip(self) -> Any:
        """Specification of the main camera's clips (fps, frames, height, width); None for a folder without clips."""
        return self.streams.get("video")

    def at(self, root: Path, remote: RemoteFolder | None = None) -> Index:
        """A copy located in ``root``; with ``remote``, ``root`` is the local cache of that address."""
        copy = self.model_copy()
        copy._root, copy._remote = root, remote
        return copy

    @property
    def remote(self) -> RemoteFolder | None:
        """The remote address of the folder; None for a local folder."""
        return self._remote

    @property
    def digest(self) -> str:
        """12 hex digits of a hash of the content: the rows of all splits and the axes used to read them.

        Rows are identified by the bytes of the shards and by the order, places and checksums of their members. The
        digest of a folder of schema version 1 covers the bytes only, because features and runs refer to it.
        """
        rows = {
            name: [shard.identity if self.schema_version > 1 else shard.sha256 for shard in split.shards]
            for name, split in self.splits.items()
        }
        return digest({"shards": rows, "channels": self.channels, "placements": self.placements, "rate": self.rate_hz})

    def rows_digest(self, split: str) -> str:
        """12 hex digits of a hash of a split's rows: keys in order, bytes, places and checksums, in every version.

        Arrays that are derived from the shards store it: row i of the array belongs to sample i only while it is equal.

        Raises:
            ShardError: unknown split.
        """
        return digest([shard.identity for shard in self.split(split).shards])

    def plain(self) -> dict[str, Any]:
        """The content as stored in index.json of its schema version; blocks of members are in the same order."""
        splits, at = {}, 0
        for name, split in self.splits.items():
            shards = []
            for shard in split.shards:
                shards.append(shard.listed() if self.schema_version == 1 else shard.stored(at))
                at += shard.members.facts.block_bytes
            splits[name] = {"subjects": list(split.subjects), "samples": split.samples, "shards": shards}
        facts = super().plain()
        return {
            **facts,
            "labels": list(self.labels),
            "tags": {k: list(v) for k, v in self.tags.items()},
            "splits": splits,
        }

    def split(self, name: str) -> SplitEntry:
        """The named split.

        Raises:
            ShardError: unknown split; the message suggests the closest name.
        """
        if name not in self.splits:
            raise ShardError(
                f"the data has no split {name!r}{nearest(name, self.splits)}", hint="`imu-video inspect DATA`"
            )
        return self.splits[name]

    def shard_path(self, shard: ShardEntry) -> Path:
        """Local path of a shard; a remote shard is fetched and checked first.

        Raises:
            ShardError, ConfigError: the shard cannot be fetched, or is larger than the cache.
        """
        if self._remote is None:
            return self.root / shard.path
        return self._remote.local(shard.path, self.root, size=shard.bytes, sha256=shard.sha256)
