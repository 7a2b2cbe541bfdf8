"""Contract check of modalities on one generated stream: names, cutting, storing, reading, batches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from imu_video import registry
from imu_video.errors import ImuVideoError
from imu_video.modalities.base import RESERVED, Modality, Span, member_limit, member_suffix, stream_name, stream_of
from imu_video.testing.base import Component, build, require

_LOSSY = 12.0  # largest mean difference in grey levels of a clip after a lossy codec


def check_modality(modality: Component, *, stream: Any) -> None:
    """Check the contract of `modalities.Modality`: legal names, pure cutting, members that read back, checked batches.

    Args:
        modality: name, config entry or built modality, with a rate (``{"name": "skeleton", "fps": 10}``).
        stream: a stream of a recording, with times (N,) over 2 s or more.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> from imu_video.modalities import SkeletonTrack
        >>> times = np.arange(30) / 10
        >>> track = SkeletonTrack(times=times, joints=np.zeros((30, 2, 3)), names=("hip", "head"))
        >>> check_modality({"name": "skeleton", "fps": 5}, stream=track)
    """
    kind: Modality = build(registry.modalities, modality)
    _check_names(kind)
    times = np.asarray(stream.times)
    span = Span(start=float(times[0]), seconds=1.0)
    values = kind.cut(stream, span)
    name = type(kind).__name__
    require(values is not None, f"{name}.cut gives nothing within the stream; is fps set?")
    assert values is not None
    axes = kind.axes.split()
    require(
        values.ndim == len(axes) and str(values.dtype) == kind.dtype,
        f"{name}.cut: {values.shape} {values.dtype}, expected axes {kind.axes!r} of {kind.dtype}",
    )
    again = kind.cut(stream, span)
    require(again is not None and np.array_equal(again, values, equal_nan=True), f"{name}.cut: two calls differ")
    outside = Span(start=float(times[-1]) + 100.0, seconds=1.0)
    require(kind.cut(stream, outside) is None, f"{name}.cut: a value 100 s after the stream's end; return None there")
    held = kind.cut(stream, Span(start=float(times[0]) - 0.5, seconds=1.0, hold=True))
    require(held is not None and held.shape == values.shape, f"{name}.cut: hold must repeat the first sample")
    moved = kind.retimed(stream, lambda t: t + 5.0)
    require(
        np.allclose(np.asarray(moved.times), times + 5.0) and np.array_equal(np.asarray(stream.times), times),
        f"{name}.retimed must give a stream with corrected times and leave the original alone",
    )
    wrong = kind.check_stream(stream)
    require(wrong is None, f"{name}.check_stream: {wrong}")
    _check_motion(kind, stream)
    _check_member(kind, stream, values)


def _check_names(kind: Modality) -> None:
    name = type(kind).__name__
    require(
        re.fullmatch(r"[a-z0-9_]+", kind.name) is not None and kind.name not in RESERVED,
        f"{name}.name is {kind.name!r}: use a-z, 0-9 and _ only, and none of {sorted(RESERVED)}",
    )
    require(
        kind.name in registry.modalities.names() and registry.modalities.get(kind.name) is type(kind),
        f"{name} is not registered as {kind.name!r}",
    )
    require(re.fullmatch(r"[a-z0-9]+", kind.extension) is not None, f"{name}.extension is {kind.extension!r}")
    require(bool(kind.unit) and bool(kind.axes) and kind.limit > 0, f"{name}: unit, axes and limit must be stated")
    stream = stream_name(kind.name, "part" if kind.parts == "named" else None)
    suffix = member_suffix(stream)
    require(
        stream_of(suffix) == stream and member_limit(suffix) == kind.limit, f"{name}: member {suffix!r} is not its own"
    )


def _check_motion(kind: Modality, stream: Any) -> None:
    """Check the curves of a modality that sync aligns."""
    if kind.alignment_rank is None:
        return
    name, placements = type(kind).__name__, ["left_wrist", "waist"]
    curves = kind.motion(stream, placements, [np.arange(len(stream.times))])
    require(
        len(curves) == len(placements) and all(curves),
        f"{name}.motion gives {[len(c) for c in curves]} curves, expected at least one for each of 2 placements",
    )
    for curve in [curve for several in curves for curve in several]:
        require(
            curve.times.shape == curve.values.shape
            and bool(np.all(np.diff(curve.times) > 0))
            and bool(np.all(curve.values >= 0)),
            f"{name}.motion: a curve needs increasing times and as many values, none of them negative",
        )


def _check_member(kind: Modality, stream: Any, values: np.ndarray) -> None:
    name = type(kind).__name__
    spec = kind.describe(stream, values)
    require(isinstance(spec, kind.spec), f"{name}.describe gives {type(spec).__name__}, expected {kind.spec.__name__}")
    require(spec.shape == values.shape, f"{name}: spec.shape is {spec.shape}, windows have {values.shape}")
    same = kind.spec.model_validate_json(spec.model_dump_json())
    require(same == spec, f"{name}.spec does not survive JSON: {same!r} instead of {spec!r}")
    missing = spec.provisional.keys() - spec.context.keys()
    require(not missing, f"{name}.spec: provisional has {sorted(missing)}, which context lacks")
    data = kind.encode(values, spec)
    require(data == kind.encode(values, spec), f"{name}.encode: two calls give different bytes")
    require(len(data) <= kind.limit, f"{name}: a member of {len(data)} bytes, the limit is {kind.limit}")
    kind.verify(data, "k.member", spec)
    stored = kind.decode(data, "k.member", spec)
    whole = kind.select(stored, range(spec.frames))
    require(whole.shape == values.shape and whole.dtype == values.dtype, f"{name}.select: {whole.shape} {whole.dtype}")
    difference = np.abs(whole.astype(np.float64) - values.astype(np.float64))
    near = np.nanmean(difference) <= _LOSSY if kind.dtype == "uint8" else np.array_equal(whole, values, equal_nan=True)
    require(bool(near), f"{name}: what is read differs from what was written")
    last = kind.select(stored, [spec.frames - 1])
    require(last.size * spec.frames == whole.size, f"{name}.select: one of {spec.frames} frames has {last.shape}")
    for damaged in (b"", data[: len(data) // 2 - len(data) // 4]):
        try:
            kind.verify(damaged[::-1], "k.member", spec)
        except ImuVideoError:
            continue
        raise AssertionError(f"{name}.verify accepts damaged bytes: raise a ShardError")
    batch = kind.collate([whole, whole])
    kind.check_batch(batch, rows=2)
    for tensor in (batch[0], batch.bool()):
        try:
            kind.check_batch(tensor)
        except ValueError:
            continue
        raise AssertionError(f"{name}.check_batch accepts {tuple(tensor.shape)} {tensor.dtype}: raise a ValueError")
