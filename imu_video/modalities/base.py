"""The interface of a modality: member name, axes, specification in the index, cutting, storing and reading.

A *stream* is one modality of one recording, named by the modality (``video``) and, if there are several, by a part
(``video.depth``: a further camera, ``imu.right_wrist``: a device). Its shard member is ``KEY.<stream>.<extension>``.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, PlainSerializer, ValidationError
from torch import Tensor

from imu_video import registry
from imu_video.arguments import Positive
from imu_video.config import Config
from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.arrays import decode_array, npy_bytes

NEAR = 1.5
"""Sampling periods of a stream: a requested time farther than this from every sample has no value."""

RESERVED = frozenset({"meta", "present", "complete"})
"""Names of the other files in shards and columns: reserved, so no modality may use them."""

Parts = Literal["one", "several", "named"]
"""``one`` stream per recording; ``several``: a main one and further named ones; ``named``: every stream has a name."""

Drawing = Literal["frames", "points", "none"]
"""See `Modality.drawing`."""

_PART = re.compile(r"[a-z0-9_]+")


class StreamSpec(Config):
    """Specification of one stream in the index; all its samples share it.

    Args:
        fps: samples per second of the stored stream.
        frames: F, length of the time axis.
    """

    provisional: ClassVar[Mapping[str, Any]] = {}
    """Stand-ins for `context`, with which configs of such components are validated before the data are opened."""

    fps: float
    frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of one stored sample."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """One line for display."""
        return f"{self.frames} frames at {self.fps:g} Hz"

    @property
    def context(self) -> dict[str, Any]:
        """Constructor arguments that components on this stream take from the data, such as joint names."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time of one window.

    Args:
        start: seconds on the recording's clock.
        seconds: length of the window.
        hold: repeat the first and last sample where the window reaches beyond the stream (windows of whole recordings).
    """

    start: float
    seconds: float
    hold: bool = False

    def moments(self, times: np.ndarray, fps: float) -> np.ndarray | None:
        """Requested times (F,) in seconds at a rate; None where the stream has no sample near one of them.

        Args:
            times: (N,) seconds of the stream's samples, increasing, N >= 1.
            fps: requested samples per second, > 0.

        Example:
            >>> Span(start=1.0, seconds=1.0).moments(np.arange(9) / 4, 2.0).tolist()
            [1.0, 1.5]
        """
        wanted = self.start + np.arange(round(self.seconds * fps)) / fps
        if self.hold:
            wanted = np.clip(wanted, times[0], times[-1])
        period = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
        nearest = times[nearest_index(times, wanted)]
        return wanted if np.all(np.abs(nearest - wanted) <= NEAR * period + 1e-9) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Motion over time: ``times`` (n,) seconds, increasing, and ``values`` (n,) >= 0 in a unit of its own.

    ``breaks`` is the longest step between two times that counts as continuous; longer steps are gaps.
    """

    times: np.ndarray
    values: np.ndarray
    breaks: float


class Modality(ABC):
    """Base of modalities. An instance holds the settings for cutting streams into windows; reading needs none.

    A subclass sets the class attributes, registers with ``@registry.modalities.register(name)``, and implements
    `sample` and `describe`. Streams of recordings are any objects with ``times`` (N,) in increasing seconds.

    Args:
        fps: samples per second of the stored stream; None: windows are cut without it.

    Attributes:
        name: the registered name, ``[a-z0-9_]+``.
        axes: letters of the axes of one stored sample, ``"F J 3"``; a digit is a fixed length.
        unit: of the stored values.
        dtype: of the stored values after decoding.
        extension: of the shard member.
        limit: largest size of a member in bytes; a larger one raises an error and is not read.
        parts: see `Parts`.
        part: word for a part in errors, such as ``camera``.
        noun: word for one stored sample in errors and tables, such as ``clip``.
        spec: class of the specification in the index.
        in_columns: whether columns hold the decoded stream; False where it stays encoded in the shards.
        drawing: how one sample is displayed: ``frames`` (pictures), ``points`` (J, 3) in space, or ``none``.
        index_key: key of index.json for the main stream; None: the stream is listed under ``streams``.
        parts_key: key of index.json for further streams.
        window_keys: constructor argument -> key of a build config's ``window`` section; empty: the arguments are
            under ``window.streams.<name>``.
        alignment_rank: position among the modalities with which sync aligns a recording by `motion`, lowest first; the
            first one of a recording is used. None: `motion` is not implemented.
    """

    name: ClassVar[str]
    axes: ClassVar[str]
    unit: ClassVar[str]
    dtype: ClassVar[str] = "float32"
    extension: ClassVar[str] = "npy"
    limit: ClassVar[int] = 256 << 20
    parts: ClassVar[Parts] = "one"
    part: ClassVar[str] = "part"
    noun: ClassVar[str] = "sample"
    spec: ClassVar[type[StreamSpec]] = StreamSpec
    in_columns: ClassVar[bool] = True
    drawing: ClassVar[Drawing] = "none"
    index_key: ClassVar[str | None] = None
    parts_key: ClassVar[str | None] = None
    window_keys: ClassVar[Mapping[str, str]] = {}
    alignment_rank: ClassVar[int | None] = None

    def __init__(self, *, fps: Positive | None = None) -> None:
        self.fps = fps

    # ------------------------------------------------------------------------------------------- recording -> window

    def check_window(self, seconds: float) -> None:
        """Check that these settings support a window length.

        Raises:
            ValueError: no sample fits.
        """
        if self.fps is not None and round(seconds * self.fps) < 1:
            raise ValueError(f"a {self.noun} of {seconds} s at {self.fps} Hz has no frame")

    def cut(self, stream: Any, span: Span) -> np.ndarray | None:
        """One window of a stream, in the stored axes; None if the stream has no samples there or is disabled."""
        if self.fps is None or len(stream.times) == 0:
            return None
        wanted = span.moments(stream.times, self.fps)
        return None if wanted is None else self.sample(stream, wanted)

    @abstractmethod
    def sample(self, stream: Any, times: np.ndarray) -> np.ndarray:
        """Values of a stream at times (F,) in seconds, in the stored axes."""

    @abstractmethod
    def describe(self, stream: Any, values: np.ndarray) -> StreamSpec:
        """Specification of a window of a stream that `cut` returned."""

    def retimed(self, stream: Any, correct: Callable[[np.ndarray], np.ndarray]) -> Any:
        """The stream with corrected times; by default a copy of a dataclass."""
        return dataclasses.replace(stream, times=correct(stream.times))

    def motion(
        self, stream: Any, placements: Sequence[str], segments: Sequence[np.ndarray]
    ) -> Sequence[Sequence[Curve]]:
        """Amount of motion over time as each IMU device should measure it, by which sync aligns the clocks.

        Args:
            stream: of a recording.
            placements: of its devices. All are passed at once, so that a stream is decoded once.
            segments: indices of samples that suffice for the estimate. A modality whose samples are expensive to decode
                reads only these.

        Returns:
            For each placement one or more curves, in the order of time.
        """
        raise NotImplementedError(f"{self.name}: a modality with an alignment_rank implements motion")

    def check_stream(self, stream: Any) -> str | None:
        """Fault of a stream apart from its times, for `testing.check_dataset`; None if it is valid."""
        return None

    # --------------------------------------------------------------------------------------------- window <-> member

    def encode(self, values: np.ndarray, spec: StreamSpec | None) -> bytes:
        """Bytes of the shard member."""
        return npy_bytes(np.asarray(values, dtype=np.float32))

    def decode(self, data: bytes, name: str, spec: StreamSpec) -> Any:
        """The value returned to a reader: the array, or bytes that `select` decodes later.

        Args:
            data: bytes of a shard member.
            name: of the member, for errors.
            spec: what the index declares about the stream.

        Raises:
            ShardError: damaged bytes, or not what ``spec`` declares.
        """
        return decode_array(data, name, spec.shape)

    def verify(self, data: bytes, name: str, spec: StreamSpec) -> None:
        """Raise if a member is damaged; used by `imu-video verify`.

        Raises:
            ShardError: it is.
        """
        self.decode(data, name, spec)

    def select(self, stored: Any, frames: Sequence[int]) -> np.ndarray:
        """Some frames of what `decode` returned, in order."""
        return np.ascontiguousarray(stored[list(frames)])

    # -------------------------------------------------------------------------------------------------- batches

    def collate(self, samples: Sequence[np.ndarray]) -> Tensor:
        """Samples of equal axes as one batch. Shapes: B times one sample -> (B, ...)."""
        batch = torch.from_numpy(np.stack(samples))
        self.check_batch(batch)
        return batch

    @classmethod
    def check_batch(cls, batch: Tensor, rows: int | None = None) -> None:
        """Check that a tensor is a batch of this modality.

        Args:
            batch: tensor to check.
            rows: expected B; None: any.

        Raises:
            ValueError: the number of axes or rows, a fixed length or the type differs.
        """
        ndim, fixed, exact = _layout(cls.axes, cls.dtype)
        if (
            batch.ndim != ndim
            or (rows is not None and len(batch) != rows)
            or any(batch.shape[number] != length for number, length in fixed)
            or (not batch.is_floating_point() if exact is None else batch.dtype != exact)
        ):
            of = "" if rows is None else f" with B={rows}"
            raise ValueError(
                f"{cls.name} must be {cls.batch_axes()}{of}, got {tuple(batch.shape)} {str(batch.dtype)[6:]}"
            )

    @classmethod
    def batch_axes(cls) -> str:
        """Axes and type of a batch, for errors: ``(B, F, J, 3) float32``."""
        return f"({', '.join(['B', *cls.axes.split()])}) {cls.dtype}"

    # -------------------------------------------------------------------------------------------------- names

    @classmethod
    def check_part(cls, part: str) -> str | None:
        """Fault of the part of a stream's name; None if it is valid."""
        if part and not _PART.fullmatch(part):
            return f"{cls.part} name {part!r}: use letters a-z, digits and '_' only"
        if part and cls.parts == "one":
            return f"a recording has one {cls.name}, without further name"
        if not part and cls.parts == "named":
            return f"{cls.name} needs the name of a {cls.part}"
        return None

    @classmethod
    def member_form(cls) -> str:
        """How its shard members are named, for errors: ``KEY.video.mp4 or KEY.video.<camera>.mp4``."""
        one, more = f"KEY.{cls.name}.{cls.extension}", f"KEY.{cls.name}.<{cls.part}>.{cls.extension}"
        return {"one": one, "named": more, "several": f"{one}, {more}"}[cls.parts]

    @classmethod
    def window_key(cls) -> str:
        """Config key that switches this modality on when shards are built."""
        return f"window.{cls.window_keys['fps']}" if cls.window_keys else f"window.streams.{cls.name}.fps"

    @classmethod
    def lacking(cls, part: str) -> str:
        """Key under which the index counts samples without this stream."""
        return stream_name(cls.name, part)


@lru_cache(maxsize=64)
def _layout(axes: str, dtype: str) -> tuple[int, tuple[tuple[int, int], ...], torch.dtype | None]:
    """Axes of a batch, its fixed lengths by axis, and its type (None: any floating one).

    Cached, because every training batch is checked: parsing the letters again would cost as much as a gather.
    """
    letters = axes.split()
    fixed = tuple((number, int(axis)) for number, axis in enumerate(letters, 1) if axis.isdigit())
    return len(letters) + 1, fixed, getattr(torch, dtype) if np.issubdtype(np.dtype(dtype), np.integer) else None


def stream_name(modality: str, part: str | None = None) -> str:
    """Name of a stream.

    Example:
        >>> stream_name("video"), stream_name("video", "depth")
        ('video', 'video.depth')
    """
    return f"{modality}.{part}" if part else modality


@lru_cache(maxsize=256)
def modality_of(stream: str) -> Modality:
    """The modality of a stream, with its default settings: enough to store and read.

    Args:
        stream: its name, ``video.depth``.

    Raises:
        ConfigError: no such modality is registered.
        ShardError: the rest of the name is illegal.

    Example:
        >>> modality_of("video.depth").extension
        'mp4'
    """
    name, _, part = stream.partition(".")
    modality: Modality = registry.modalities.build(name)
    wrong = modality.check_part(part) if stream == stream_name(name, part) else f"{stream!r} ends in a dot"
    if wrong is not None:
        raise ShardError(f"stream {stream!r}: {wrong}")
    return modality


@lru_cache(maxsize=1024)
def member_suffix(stream: str) -> str:
    """Suffix of a stream's shard member.

    Example:
        >>> member_suffix("imu.waist"), member_suffix("video")
        ('imu.waist.npy', 'video.mp4')
    """
    return f"{stream}.{modality_of(stream).extension}"


@lru_cache(maxsize=1024)
def stream_of(suffix: str) -> str:
    """The stream that a member suffix stores; ``meta`` for the sample's metadata.

    Example:
        >>> stream_of("imu.waist.npy"), stream_of("meta.json")
        ('imu.waist', 'meta')
    """
    return suffix.rpartition(".")[0]


def member_limit(suffix: str) -> int | None:
    """Largest size in bytes of a member with this suffix; None where no registered modality has it."""
    # Only a known suffix is cached: a plugin that is loaded later may register the modality of an unknown one.
    try:
        return _limit_of(suffix)
    except (ConfigError, ShardError):
        return None


@lru_cache(maxsize=1024)
def _limit_of(suffix: str) -> int:
    modality = modality_of(stream_of(suffix))
    extension = suffix.rpartition(".")[2]
    if extension != modality.extension:
        raise ShardError(f"member {suffix!r}: extension {extension!r}, expected {modality.extension!r}")
    return modality.limit


def nearest_index(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the entry of increasing ``times`` nearest to each requested time; the earlier one of two equally near.

    Example:
        >>> nearest_index(np.array([0.0, 1.0, 5.0]), np.array([0.4, 2.9, 9.0])).tolist()
        [0, 1, 2]
    """
    right = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    return np.where(np.abs(times[right] - wanted) < np.abs(wanted - times[left]), right, left)


# ------------------------------------------------------------------------------------------- specifications by stream


def _specs(raw: Any) -> Any:
    """Specifications by stream from JSON or from objects; the modality determines the class of each."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"expected a mapping of streams, got {type(raw).__name__}")
    out: dict[str, StreamSpec] = {}
    for stream, value in raw.items():
        wanted = modality_of(str(stream)).spec
        try:
            out[str(stream)] = value if isinstance(value, wanted) else wanted.model_validate(value)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise ValueError(f"{stream}{'.' * bool(where)}{where}: {fault['msg']}") from error
    return out


def _plain(specs: Mapping[str, StreamSpec]) -> dict[str, Any]:
    return {stream: spec.model_dump(mode="json") for stream, spec in specs.items()}


StreamSpecs = Annotated[dict[str, StreamSpec], BeforeValidator(_specs), PlainSerializer(_plain)]
"""Stream -> specification, for pydantic models and dataclasses: each value is of its modality's class."""


def specs_from_index(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The content of index.json with all specifications gathered under ``streams``.

    The built-in modalities have keys of their own there (``clip``, ``views``, ``skeleton``), which every version reads.
    Raises ValueError where a key of several streams holds no mapping.
    """
    for key in ("streams", *filter(None, (modality.parts_key for modality in _indexed()))):
        if not isinstance(raw.get(key) or {}, Mapping):
            raise ValueError(f"{key}: expected streams with their specifications, got {type(raw[key]).__name__}")
    rest, streams = dict(raw), dict(raw.get("streams") or {})
    for modality in _indexed():
        assert modality.index_key is not None
        main = rest.pop(modality.index_key, None)
        further = rest.pop(modality.parts_key, None) if modality.parts_key else None
        for part, spec in {**({"": main} if main is not None else {}), **(further or {})}.items():
            streams[stream_name(modality.name, part)] = spec
    return {**rest, "streams": streams}


def specs_to_index(specs: Mapping[str, StreamSpec]) -> dict[str, Any]:
    """Keys of index.json and what is written under them, in order; the reverse of `specs_from_index`.

    A main key is always written, as null where the folder has no such stream; the other keys only where they have
    content.
    """
    plain, out = _plain(specs), dict[str, Any]()
    for modality in _indexed():
        assert modality.index_key is not None
        out[modality.index_key] = plain.pop(modality.name, None)
        mine = [stream for stream in plain if stream.startswith(f"{modality.name}.")]
        further = {stream.partition(".")[2]: plain.pop(stream) for stream in mine}
        if further and modality.parts_key:
            out[modality.parts_key] = further
    return {**out, **({"streams": plain} if plain else {})}


def index_keys() -> tuple[str, ...]:
    """Every key of index.json that specifications of streams may have."""
    keys = [key for modality in _indexed() for key in (modality.index_key, modality.parts_key) if key]
    return (*keys, "streams")


def _indexed() -> list[type[Modality]]:
    """Modalities with their own key in index.json, in the order of their keys."""
    known = [registry.modalities.get(name) for name in registry.modalities.names()]
    return sorted((one for one in known if one.index_key), key=lambda one: str(one.index_key))


def counted_streams(specs: Mapping[str, StreamSpec]) -> list[str]:
    """Streams whose missing samples the index counts: those of the folder, and main streams with their own key."""
    return list(dict.fromkeys([*(one.name for one in _indexed()), *specs]))


def lacking_key(stream: str) -> str:
    """Key under which the index counts the samples that lack a stream.

    Example:
        >>> lacking_key("video.depth"), lacking_key("skeleton")
        ('view depth', 'skeleton')
    """
    return modality_of(stream).lacking(stream.partition(".")[2])
