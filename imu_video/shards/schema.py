"""What a data folder contains, as pydantic models, and which member names are legal; nothing here opens a file.

docs/guides/shards.md documents the layout for users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer, model_validator

from imu_video.config import Config, digest
from imu_video.errors import ShardError, nearest
from imu_video.modalities.base import (
    StreamSpec,
    StreamSpecs,
    index_keys,
    member_limit,
    specs_from_index,
    specs_to_index,
)
from imu_video.modalities.imu import ImuSpec
from imu_video.registry import modalities
from imu_video.types import channel_unit

if TYPE_CHECKING:
    from imu_video.shards.remote import RemoteFolder

SCHEMA_VERSION = 1
"""Version of the folder's layout; a reader refuses a newer one."""

INDEX_FILE = "index.json"
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

_META_SUFFIX, _META_LIMIT = "meta.json", 1 << 20
_NAME = r"[A-Za-z0-9_-]+"
_PLACEMENT = r"[a-z0-9_]+"
_KEY = re.compile(_NAME)
_SHARD = re.compile(rf"(?P<split>{_NAME})-(?P<number>\d{{6}})\.tar")
_USTAR_NAME = 100

Name = Annotated[str, Field(pattern=rf"^{_NAME}$")]
Placement = Annotated[str, Field(pattern=rf"^{_PLACEMENT}$")]
Flag = Annotated[str, Field(pattern=rf"^{_PLACEMENT}:{_PLACEMENT}$")]


def stored_unit(channel: str, normalised: str) -> str:
    """Unit of a channel in a folder: SI, or ``1`` where signals were normalised per recording."""
    return channel_unit(channel) if normalised == "none" else "1"


def shard_name(split: str, number: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name("train", 3)
        'train-000003.tar'
    """
    return f"{split}-{number:06d}.tar"


def parse_shard_name(name: str) -> tuple[str, int] | None:
    """Split and number of a shard's file name, or None for another file.

    Example:
        >>> parse_shard_name("train-000003.tar")
        ('train', 3)
    """
    match = _SHARD.fullmatch(name)
    return (match["split"], int(match["number"])) if match else None


def parse_member(name: str) -> tuple[str, str]:
    """Split a tar member's name into key and suffix.

    Args:
        name: the name in the tar.

    Returns:
        Key and suffix: ``meta.json``, or the suffix of a registered modality, such as ``imu.<placement>.npy``.

    Raises:
        ShardError: any other name: folders, absolute paths, ``..``, unknown suffixes.

    Example:
        >>> parse_member("walk_00001.imu.right_wrist.npy")
        ('walk_00001', 'imu.right_wrist.npy')
    """
    key, _, suffix = name.partition(".")
    if not _KEY.fullmatch(key) or _limit(suffix) is None:
        known = [modalities.get(one).member_form() for one in modalities.names()]
        raise ShardError(
            f"tar member {name!r}: expected {', '.join(known)} or KEY.{_META_SUFFIX}",
            hint="only shards written by `imu-video build` are read; a modality of your own needs --plugin FILE.py",
        )
    return key, suffix


def check_member(key: str, suffix: str, size: int) -> str:
    """Check that readers accept a member, and return its full name.

    Raises:
        ShardError: the name is illegal or too long, or the member exceeds the size limit of its modality.
    """
    name = f"{key}.{suffix}"
    limit = _limit(suffix) if _KEY.fullmatch(key) else None
    if limit is None:
        parse_member(name)
        raise ShardError(f"tar member {name!r}: expected a sample key and the suffix of a modality")
    if len(name) > _USTAR_NAME:
        raise ShardError(
            f"tar member {name!r} has {len(name)} letters, the format allows {_USTAR_NAME}",
            hint="give the recording a shorter name",
        )
    if size > limit:
        raise ShardError(f"tar member {name!r} has {size} bytes, the limit is {limit}", hint="cut shorter windows")
    return name


def _limit(suffix: str) -> int | None:
    """Largest size of a member with this suffix; None for an unknown suffix."""
    return _META_LIMIT if suffix == _META_SUFFIX else member_limit(suffix)


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
    sync: dict[str, float] | None = None

    def plain(self) -> dict[str, Any]:
        """The content as written to the member; empty ``flags`` and ``sync`` are omitted."""
        return {key: value for key, value in self if key not in ("flags", "sync") or value}


class ShardEntry(Config):
    """One tar: path in the folder, counts, hash, and for each key and member suffix its (offset, size) in bytes.

    ``crc32`` has each member's checksum by key and suffix, so that a reader can skip one damaged sample and keep the
    rest of the shard. Folders written by earlier versions have no checksums.
    """

    path: str = Field(pattern=rf"^{SHARD_FOLDER}/{_NAME}\.tar$")
    samples: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    keys: dict[Name, dict[str, tuple[int, int]]] = Field(repr=False)
    crc32: dict[Name, dict[str, int]] = Field(default={}, repr=False)

    def plain(self) -> dict[str, Any]:
        """The content as a JSON-serialisable mapping; nested values are shared, not copied."""
        return dict(vars(self).items())

    @model_validator(mode="after")
    def _counted(self) -> ShardEntry:
        if len(self.keys) != self.samples:
            raise ValueError(f"{self.path}: {self.samples} samples declared, {len(self.keys)} keys listed")
        for key, members in self.keys.items():
            for suffix, (offset, size) in members.items():
                check_member(key, suffix, size)
                if offset < 1 or size < 0 or offset + size > self.bytes:
                    raise ValueError(f"{self.path}: {key}.{suffix} exceeds the file: {size} bytes at offset {offset}")
        if self.crc32 and any(self.crc32.get(key, {}).keys() != members.keys() for key, members in self.keys.items()):
            raise ValueError(f"{self.path}: crc32 lists other members than keys")
        return self


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

    schema_version: int = SCHEMA_VERSION
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
        for key, value in self.model_dump(mode="json").items():
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
        """12 hex digits of a hash of the content: the bytes of all shards and the axes used to read them."""
        shards = {name: [shard.sha256 for shard in split.shards] for name, split in self.splits.items()}
        return digest(
            {"shards": shards, "channels": self.channels, "placements": self.placements, "rate": self.rate_hz}
        )

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
