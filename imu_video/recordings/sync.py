"""Offset and drift between an IMU and a video or skeleton, estimated from motion and scored; clocks are clock.py's.

Motion of the pictures (or joints) and of the IMU are two curves over time (motion.py). Stretches of the first are
correlated with the second at every lag up to ``max_offset_s``; where the recording is long, lags may grow steadily over
the stretches: that is drift. The score is the prominence of the best lag (its correlation less the best one elsewhere)
times the square root of the seconds that carry it, at most 1. It is near zero for unrelated curves, for periodic motion
that fits at several lags and where nothing moves; and small where one short event is all the evidence there is, since
any two recordings with one event each can be laid over each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator
from scipy.signal import fftconvolve

from imu_video.config import Config
from imu_video.recordings.motion import Curve, imu_motion, on_grid, picture_motion, skeleton_motion
from imu_video.types import FrameSource, Recording

RATE_HZ = 100.0
_SLOW_S, _FAST_S = 1.0, 0.04
_BLOCK_S = 0.5  # of the sums by which seconds of evidence are counted
_APART_S = 0.5  # lags nearer to the best one belong to its peak
_DRIFT_SPAN_S = 60.0  # between the first and the last stretch, below which no drift can be told
_INDEPENDENT_HZ = 2.0  # samples of the band-passed curves a second that count as independent
_SURE = 9.0  # likelihood ratio that a drift must gain over none: three standard deviations
_FEWEST = 16  # frames
_OVERLAP = 0.5  # share of the curve that a lag must compare


class SyncConfig(Config):
    """Whether video and skeleton are laid over the IMU by their motion.

    Args:
        mode: ``off``; ``estimate`` stores the estimate with every sample; ``correct`` also moves the video's and
            skeleton's times, where the score reaches ``min_score``.
        min_score: below it an estimate is not to be trusted (docs/guides/signal.md has the measurements behind 0.6).
        max_offset_s: largest offset that is looked for.
        max_drift_ppm: largest drift that is looked for; clocks of phones and cameras differ by less than 100.
        stretches: how many stretches of a long video are decoded for it, evenly spread.
        stretch_s: seconds of each.
    """

    mode: Literal["off", "estimate", "correct"] = "off"
    min_score: float = Field(default=0.6, ge=0, le=1)
    max_offset_s: float = Field(default=3.0, gt=0, le=60)
    max_drift_ppm: float = Field(default=500.0, ge=0, le=10_000)
    stretches: int = Field(default=8, ge=1, le=100)
    stretch_s: float = Field(default=20.0, ge=2, le=600)

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare `off` as false


@dataclass(frozen=True, kw_only=True)
class SyncEstimate:
    """What `estimate_sync` found.

    Args:
        reference: ``video`` or ``skeleton``.
        placement: the IMU device that fits best.
        offset_s: seconds to add to the reference's times at its first frame.
        drift_ppm: by how much its clock runs slow: seconds to add further for every million that pass.
        score: 0 .. 1; see the module.
        correlation: of the two curves at this lag, -1 .. 1.
        origin_s: time of the reference's first frame before correction.
    """

    reference: Literal["video", "skeleton"]
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
        """What a sample's meta.json says."""
        return {
            "offset_s": round(self.offset_s, 4),
            "drift_ppm": round(self.drift_ppm, 2),
            "score": round(self.score, 4),
        }


class CorrectedFrames:
    """A video whose times are moved; frames come from the original."""

    def __init__(self, video: FrameSource, estimate: SyncEstimate) -> None:
        self._video = video
        self._estimate = estimate

    @property
    def times(self) -> np.ndarray:
        """(F,) float64 seconds on the IMU's clock."""
        return self._estimate.correct(np.asarray(self._video.times))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the named frames as (F, H, W, 3) uint8 RGB."""
        return self._video.read(indices)


def estimate_sync(recording: Recording, config: SyncConfig) -> SyncEstimate | None:
    """Offset, drift and score of a recording's video, or of its skeleton where there is no video.

    All devices share the recording's clock: each is tried, the one with the highest score speaks.

    Args:
        recording: with video or skeleton.
        config: search range and how much of a video is decoded.

    Returns:
        The estimate; with score 0 and nothing to correct where there are too few frames, no IMU or no motion; None
        where the recording has neither video nor skeleton.

    Raises:
        RecordingError: an unreadable video.
    """
    if recording.video is not None:
        times = np.asarray(recording.video.times)
        if len(times) < _FEWEST:
            return _nothing(recording, "video", times)
        picked = _stretches(times, config)
        pictures = [picture_motion(recording.video, indices) for indices in picked]
        found = [_device(stream.placement, imu_motion(stream), pictures, config) for stream in recording.imu]
        return _best(found, "video", float(times[0])) or _nothing(recording, "video", times)
    if recording.skeleton is not None:
        track = recording.skeleton
        if len(track.times) < _FEWEST:
            return _nothing(recording, "skeleton", track.times)
        found = []
        for stream in recording.imu:
            curve = skeleton_motion(track, stream.placement)
            found.append(_device(stream.placement, imu_motion(stream), _pieces(curve, config), config))
        return _best(found, "skeleton", float(track.times[0])) or _nothing(recording, "skeleton", track.times)
    return None


def correct(recording: Recording, estimate: SyncEstimate) -> Recording:
    """The recording with its videos and skeleton moved onto the IMU's clock: an adapter has put these on one clock."""
    video, track = recording.video, recording.skeleton
    return replace(
        recording,
        video=None if video is None else CorrectedFrames(video, estimate),
        views={name: CorrectedFrames(view, estimate) for name, view in recording.views.items()},
        skeleton=None if track is None else replace(track, times=estimate.correct(track.times)),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    placement: str
    lag_s: float
    drift: float
    origin_s: float
    score: float
    correlation: float


def _nothing(recording: Recording, reference: Literal["video", "skeleton"], times: np.ndarray) -> SyncEstimate:
    """The estimate where nothing can be estimated."""
    return SyncEstimate(
        reference=reference,
        placement=recording.imu[0].placement,
        offset_s=0.0,
        drift_ppm=0.0,
        score=0.0,
        correlation=0.0,
        origin_s=float(times[0]) if len(times) else 0.0,
    )


def _best(found: Sequence[_Found | None], reference: Literal["video", "skeleton"], first: float) -> SyncEstimate | None:
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
    """Frame numbers of the stretches that are looked at: the whole video where that is no more."""
    length = float(times[-1] - times[0])
    if length <= config.stretches * config.stretch_s:
        return [np.arange(len(times))]
    starts = times[0] + np.linspace(0, length - config.stretch_s, config.stretches)
    return [np.flatnonzero((times >= a) & (times < a + config.stretch_s)) for a in starts]


def _pieces(curve: Curve, config: SyncConfig) -> list[Curve]:
    """A curve that costs nothing to have: all of it, cut so that drift can show."""
    if not len(curve.times):
        return []
    edges = np.arange(curve.times[0], curve.times[-1] + config.stretch_s, config.stretch_s)
    parts = [(curve.times >= a) & (curve.times < b) for a, b in pairwise(edges)]
    return [replace(curve, times=curve.times[p], values=curve.values[p]) for p in parts if np.count_nonzero(p) > 1]


def _device(placement: str, motion: Curve | None, references: Sequence[Curve], config: SyncConfig) -> _Found | None:
    """Correlate one device with the reference's stretches."""
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
    """Seconds that carry the correlation: the participation ratio of its contributions by half seconds."""
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
    """The stretch on its grid, and the IMU's curve on the same grid moved by a lag, longer by a margin at both ends."""
    start = float(piece.times[0])
    samples = int(np.floor((piece.times[-1] - start) * RATE_HZ)) + 1
    x = on_grid(piece, start, samples, RATE_HZ, slow_s=_SLOW_S, fast_s=_FAST_S)
    begin = start + lag_s - margin / RATE_HZ
    return x, on_grid(motion, begin, samples + 2 * margin, RATE_HZ, slow_s=_SLOW_S, fast_s=_FAST_S)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """Sums over the samples that a stretch and the IMU's curve share, for lags -L .. L, all (2 L + 1,).

    ``count`` samples compared, ``product`` of the two centred curves, ``reference`` and ``motion`` their squares;
    ``length`` is the number of samples that the stretch has.
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
    """Correlation of all stretches together at the wanted lags, each stretch's own being moved by its shift."""
    axis = np.arange(-lags, lags + 1)
    total = np.zeros((4, len(wanted)))
    for table, shift in zip(tables, shifts, strict=True):
        rows = (table.count, table.product, table.reference, table.motion)
        total += np.stack([np.interp(wanted + shift, axis, row) for row in rows])
    count, product, reference, motion = total
    enough = (count >= _OVERLAP * sum(table.length for table in tables)) & (reference > 1e-12) & (motion > 1e-12)
    return np.where(enough, product / np.sqrt(np.where(enough, reference * motion, 1.0)), np.nan)


def _vertex(values: np.ndarray, at: int) -> float:
    """Where the parabola through a maximum and its neighbours peaks, -0.5 .. 0.5 samples from it."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if np.isfinite(bend) and bend < 0 else 0.0
