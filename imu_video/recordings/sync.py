"""Offset and drift between an IMU and another modality, estimated from motion and scored; not repair of time stamps.

The motion in the other stream (`Modality.motion`) and of the IMU (motion.py) are two curves over time. Segments of the
first are correlated with the second at every lag up to ``max_offset_s``. In long recordings the lag may grow linearly
over the segments, which is drift. The score is the prominence of the best lag (its correlation minus the best
correlation elsewhere) times the square root of the seconds that contribute to it, at most 1. It is near zero for
unrelated curves, for periodic motion that fits at several lags and for recordings without motion. It is small when a
single short event is the only evidence, because any two recordings with one event each can be aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer
from scipy.signal import fftconvolve

from imu_video import registry
from imu_video.config import Config
from imu_video.modalities.base import Curve, modality_of
from imu_video.recordings.motion import imu_motion, on_grid
from imu_video.recordings.pairing import PairEstimate, estimate_pair
from imu_video.types import Recording

RATE_HZ = 100.0
_SLOW_S, _FAST_S = 1.0, 0.04
_BLOCK_S = 0.5  # length of the blocks by which seconds of evidence are counted
_APART_S = 0.5  # lags closer than this to the best one belong to the same peak
_DRIFT_SPAN_S = 60.0  # 500 ppm over 60 s are 3 samples of the curves: over a shorter span drift is not measurable
_INDEPENDENT_HZ = 2.0  # independent samples per second of the band-passed curves
_SURE = 9.0  # likelihood ratio statistic that drift must gain over no drift: three standard deviations
_FEWEST = 16  # frames: below this a correlation means nothing
_OVERLAP = 0.5  # fraction of the curve that must overlap at a lag; short overlaps correlate by chance


class SyncConfig(Config):
    """Alignment of the other streams with the IMU by their motion.

    Args:
        mode: ``off``; ``estimate`` stores the estimate with every sample; ``correct`` also moves the times of
            the other streams, where the score reaches ``min_score``; ``pair`` is for streams without a common clock: it
            searches offset and stretch (pairing.py), and leaves out the other streams where the score is lower.
        min_score: estimates below this score are not reliable (measurements behind 0.6: docs/guides/signal.md); use 0.9
            with ``pair``, whose score is a probability (docs/trust.md).
        max_offset_s: largest offset of the search; 30 with ``pair``.
        max_stretch: with ``pair``, the largest factor between the two time bases.
        max_drift_ppm: largest drift of the search; clocks of phones and cameras differ by less than 100 ppm.
        stretches: number of evenly spaced segments of a long video that are decoded for the estimate.
        stretch_s: seconds per segment.
    """

    mode: Literal["off", "estimate", "correct", "pair"] = "off"
    min_score: float = Field(default=0.6, ge=0, le=1)
    max_offset_s: float = Field(default=3.0, gt=0, le=60)
    max_stretch: float = Field(default=1.1, ge=1, le=1.5)
    max_drift_ppm: float = Field(default=500.0, ge=0, le=10_000)
    stretches: int = Field(default=8, ge=1, le=100)
    stretch_s: float = Field(default=20.0, ge=2, le=600)

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = dump(self)
        if self.mode != "pair":
            del plain["max_stretch"]  # the digest of a build without it stays what it was before the key existed
        return plain

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare `off` as false


@dataclass(frozen=True, kw_only=True)
class SyncEstimate:
    """Offset, drift and score of one recording, as returned by `estimate_sync`.

    Args:
        reference: the modality that was compared with the IMU, such as ``video``.
        placement: the IMU device with the best score.
        offset_s: seconds to add to the reference's times at its first frame.
        drift_ppm: further seconds to add per million seconds, that is by how much the reference's clock runs slow; with
            ``pair`` a stretch of 1.02 is 20000.
        score: 0 .. 1; see the module.
        correlation: of the two curves at this lag, -1 .. 1.
        origin_s: time of the reference's first frame before correction.
    """

    reference: str
    placement: str
    offset_s: float
    drift_ppm: float
    score: float
    correlation: float
    origin_s: float

    def correct(self, times: np.ndarray) -> np.ndarray:
        """Times of the reference on the IMU's clock."""
        return np.asarray(times + self.offset_s + 1e-6 * self.drift_ppm * (times - self.origin_s))

    def plain(self) -> dict[str, float]:
        """The values that a sample's meta.json contains."""
        return {
            "offset_s": round(self.offset_s, 4),
            "drift_ppm": round(self.drift_ppm, 2),
            "score": round(self.score, 4),
        }


def estimate_sync(recording: Recording, config: SyncConfig) -> SyncEstimate | None:
    """Offset, drift and score of a recording's first modality in the order of `Modality.alignment_rank`.

    All devices share the recording's clock, so every device is evaluated and the one with the highest score is used.

    Args:
        recording: a recording with a video, a skeleton or another modality that shows motion.
        config: search range and how much of a video is decoded.

    Returns:
        The estimate. Its score, offset and drift are 0 when the recording has too few frames, no IMU or no motion.
        None when no modality of the recording shows motion.

    Raises:
        RecordingError: an unreadable video.
    """
    reference = _reference(recording)
    if reference is None:
        return None
    stream = recording.streams[reference]
    times = np.asarray(stream.times)
    if len(times) < _FEWEST:
        return _nothing(recording, reference, times)
    placements = [device.placement for device in recording.imu]
    if config.mode == "pair":
        curves = modality_of(reference).motion(stream, placements, [np.arange(len(times))])
        return _paired(recording, reference, times, curves, config) or _nothing(recording, reference, times)
    curves = modality_of(reference).motion(stream, placements, _stretches(times, config))
    found = [
        _device(device.placement, imu_motion(device), seen, config)
        for device, seen in zip(recording.imu, curves, strict=True)
    ]
    return _best(found, reference, float(times[0])) or _nothing(recording, reference, times)


def _paired(
    recording: Recording,
    reference: str,
    times: np.ndarray,
    curves: Sequence[Sequence[Curve]],
    config: SyncConfig,
) -> SyncEstimate | None:
    """The best estimate of `estimate_pair` among the devices; None if all are refused."""
    best: tuple[PairEstimate, str] | None = None
    for device, seen in zip(recording.imu, curves, strict=True):
        motion = imu_motion(device)
        if motion is None or len(seen) != 1 or not len(seen[0].times):
            continue
        found = estimate_pair(motion, seen[0], max_offset_s=config.max_offset_s, max_stretch=config.max_stretch)
        if found.refused is None and (best is None or found.score > best[0].score):
            # The curve may begin later than the stream, and the stretch is about its first time.
            shift = found.offset_s + (found.stretch - 1) * (float(times[0]) - float(seen[0].times[0]))
            best = replace(found, offset_s=shift), device.placement
    if best is None:
        return None
    found, placement = best
    return SyncEstimate(
        reference=reference,
        placement=placement,
        offset_s=found.offset_s,
        drift_ppm=1e6 * (found.stretch - 1),
        score=found.score,
        correlation=found.correlation,
        origin_s=float(times[0]),
    )


def _reference(recording: Recording) -> str | None:
    """The modality with the lowest alignment rank among the recording's main streams; None where none has a rank."""
    ranks = {}
    for name in registry.modalities.names():
        rank = registry.modalities.get(name).alignment_rank
        if rank is not None and name in recording.streams:
            ranks[name] = rank
    return min(ranks, key=lambda name: ranks[name], default=None)


def correct(recording: Recording, estimate: SyncEstimate) -> Recording:
    """The recording with its other streams moved onto the IMU's clock: an adapter has put these on one clock."""
    moved = {name: modality_of(name).retimed(stream, estimate.correct) for name, stream in recording.streams.items()}
    return replace(recording, streams=moved)


@dataclass(frozen=True, kw_only=True)
class _Found:
    placement: str
    lag_s: float
    drift: float
    origin_s: float
    score: float
    correlation: float


def _nothing(recording: Recording, reference: str, times: np.ndarray) -> SyncEstimate:
    """The estimate of a recording from which nothing can be estimated: score, offset and drift are 0."""
    return SyncEstimate(
        reference=reference,
        placement=recording.imu[0].placement,
        offset_s=0.0,
        drift_ppm=0.0,
        score=0.0,
        correlation=0.0,
        origin_s=float(times[0]) if len(times) else 0.0,
    )


def _best(found: Sequence[_Found | None], reference: str, first: float) -> SyncEstimate | None:
    known = [one for one in found if one is not None]
    if not known:
        return None
    best = max(known, key=lambda one: one.score)  # the first device among equals
    return SyncEstimate(
        reference=reference,
        placement=best.placement,
        offset_s=best.lag_s + best.drift * (first - best.origin_s),
        drift_ppm=1e6 * best.drift,
        score=best.score,
        correlation=best.correlation,
        origin_s=first,
    )


def _stretches(times: np.ndarray, config: SyncConfig) -> list[np.ndarray]:
    """Frame numbers of the segments to decode; the whole video when the segments would cover it."""
    length = float(times[-1] - times[0])
    if length <= config.stretches * config.stretch_s:
        return [np.arange(len(times))]
    starts = times[0] + np.linspace(0, length - config.stretch_s, config.stretches)
    return [np.flatnonzero((times >= a) & (times < a + config.stretch_s)) for a in starts]


def _pieces(curve: Curve, config: SyncConfig) -> list[Curve]:
    """The whole curve in segments of ``stretch_s``, so that each segment can have a lag of its own under drift."""
    if not len(curve.times):
        return []
    edges = np.arange(curve.times[0], curve.times[-1] + config.stretch_s, config.stretch_s)
    parts = [(curve.times >= a) & (curve.times < b) for a, b in pairwise(edges)]
    return [replace(curve, times=curve.times[p], values=curve.values[p]) for p in parts if np.count_nonzero(p) > 1]


def _device(placement: str, motion: Curve | None, references: Sequence[Curve], config: SyncConfig) -> _Found | None:
    """Correlate one device with the segments of the reference."""
    cut: list[Curve] = []
    for reference in references:
        cut += _pieces(reference, config)
    if motion is None or not cut:
        return None
    reach = config.max_offset_s + 1e-6 * config.max_drift_ppm * (cut[-1].times[-1] - cut[0].times[0])
    lags = int(np.ceil(reach * RATE_HZ))
    tables = [_correlate(motion, piece, lags) for piece in cut]
    centres = np.array([(piece.times[0] + piece.times[-1]) / 2 for piece in cut])
    origin = float(centres.mean())
    # The drift grid is fine enough that neighbouring drifts move the outermost segment by one sample of the curves.
    drifts = np.zeros(1)
    span = float(centres[-1] - centres[0])
    if span >= _DRIFT_SPAN_S and config.max_drift_ppm > 0:
        count = int(np.ceil(1e-6 * config.max_drift_ppm * span * RATE_HZ))
        drifts = np.linspace(-1, 1, 2 * max(count, 1) + 1) * 1e-6 * config.max_drift_ppm
    inside = int(np.floor(config.max_offset_s * RATE_HZ))
    wanted = np.arange(-inside, inside + 1)
    curves = np.stack([_pooled(tables, wanted, drift * (centres - origin) * RATE_HZ, lags) for drift in drifts])
    if not np.isfinite(curves).any():
        return None
    row, column = divmod(int(np.nanargmax(curves)), curves.shape[1])
    # Drift is one more parameter and fits noise: it is kept only where it explains the curves clearly better than the
    # best lag without drift (likelihood ratio test on independent samples).
    none = len(drifts) // 2
    if np.isfinite(curves[none]).any():
        steady = float(np.nanmax(curves[none]))
        known_s = sum(table.length for table in tables) / RATE_HZ
        gain = np.log1p(-(min(steady, 0.999) ** 2)) - np.log1p(-(min(float(curves[row, column]), 0.999) ** 2))
        if known_s * _INDEPENDENT_HZ * gain < _SURE:
            row, column = none, int(np.nanargmax(curves[none]))
    away = np.abs(wanted - wanted[column]) > _APART_S * RATE_HZ
    elsewhere = curves[row][away]
    second = float(np.nanmax(elsewhere)) if np.isfinite(elsewhere).any() else 1.0
    offset = float(wanted[column] + _vertex(curves[row], column)) / RATE_HZ
    own = [offset + float(drifts[row] * (centre - origin)) for centre in centres]
    seconds = _evidence_s(motion, cut, own)
    best, step = float(curves[row, column]), float(drifts[1] - drifts[0]) if len(drifts) > 1 else 0.0
    return _Found(
        placement=placement,
        lag_s=offset,
        drift=float(drifts[row] + _vertex(curves[:, column], row) * step) if row != none else 0.0,
        origin_s=origin,
        score=float(np.clip((best - max(second, 0.0)) * np.sqrt(seconds), 0.0, 1.0)),
        correlation=best,
    )


def _evidence_s(motion: Curve, pieces: Sequence[Curve], lags_s: Sequence[float]) -> float:
    """Seconds that contribute to the correlation: the participation ratio of the contributions per half second."""
    sums = []
    for piece, lag in zip(pieces, lags_s, strict=True):
        x, y = _curves(motion, piece, lag, 0)
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            product = np.where(known, (x - x[known].mean()) * (y - y[known].mean()), 0.0)
            size = int(_BLOCK_S * RATE_HZ)
            sums += np.add.reduceat(product, np.arange(0, len(product), size)).clip(0).tolist()
    parts = np.array(sums)
    return float(_BLOCK_S * parts.sum() ** 2 / np.sum(parts**2)) if np.any(parts > 0) else 0.0


def _curves(motion: Curve, piece: Curve, lag_s: float, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """The segment on its grid, and the IMU's curve on that grid, shifted by a lag and longer by a margin per end."""
    start = float(piece.times[0])
    samples = int(np.floor((piece.times[-1] - start) * RATE_HZ)) + 1
    x = on_grid(piece, start, samples, RATE_HZ, slow_s=_SLOW_S, fast_s=_FAST_S)
    begin = start + lag_s - margin / RATE_HZ
    return x, on_grid(motion, begin, samples + 2 * margin, RATE_HZ, slow_s=_SLOW_S, fast_s=_FAST_S)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """Sums over the samples that a segment and the IMU's curve share, for lags -L .. L, all (2 L + 1,).

    ``count`` is the number of samples compared, ``product`` the product of the two centred curves, ``reference`` and
    ``motion`` are their squares; ``length`` is the number of known samples of the segment.
    """

    length: int
    count: np.ndarray
    product: np.ndarray
    reference: np.ndarray
    motion: np.ndarray


def _correlate(motion: Curve, piece: Curve, lags: int) -> _Table:
    """Sums for every lag by FFT, over the samples at which both curves are known."""
    x, y = _curves(motion, piece, 0.0, lags)
    known_x, known_y = np.isfinite(x), np.isfinite(y)
    x, y = np.where(known_x, x, 0.0), np.where(known_y, y, 0.0)

    def over_lags(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(fftconvolve(b, a[::-1], mode="valid"))

    mask_x, mask_y = known_x.astype(np.float64), known_y.astype(np.float64)
    count = np.round(over_lags(mask_x, mask_y))
    n = np.maximum(count, 1)
    sum_x, sum_y = over_lags(x, mask_y), over_lags(mask_x, y)
    return _Table(
        length=int(np.count_nonzero(known_x)),
        count=count,
        product=over_lags(x, y) - sum_x * sum_y / n,
        reference=np.maximum(over_lags(x * x, mask_y) - sum_x**2 / n, 0),
        motion=np.maximum(over_lags(mask_x, y * y) - sum_y**2 / n, 0),
    )


def _pooled(tables: Sequence[_Table], wanted: np.ndarray, shifts: np.ndarray, lags: int) -> np.ndarray:
    """Correlation pooled over all segments at the given lags, each segment with its own shift."""
    axis = np.arange(-lags, lags + 1)
    total = np.zeros((4, len(wanted)))
    for table, shift in zip(tables, shifts, strict=True):
        rows = (table.count, table.product, table.reference, table.motion)
        total += np.stack([np.interp(wanted + shift, axis, row) for row in rows])
    count, product, reference, motion = total
    enough = (count >= _OVERLAP * sum(table.length for table in tables)) & (reference > 1e-12) & (motion > 1e-12)
    return np.where(enough, product / np.sqrt(np.where(enough, reference * motion, 1.0)), np.nan)


def _vertex(values: np.ndarray, at: int) -> float:
    """Offset in samples (-0.5 .. 0.5) of the vertex of the parabola through a maximum and its neighbours."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if np.isfinite(bend) and bend < 0 else 0.0
