"""Comparison of an exported file with its encoder on windows with gaps and of several lengths; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.errors import ParityError
from imu_video.types import GRAVITY

TOLERANCE = 1e-4
"""Largest allowed difference of a feature, relative to the largest feature of the windows compared (at least 1)."""
ROUNDING = 1e-5
"""Relative change of samples that stands for rounding errors where a feature jumps, such as a dominant frequency."""
_DRAWS = 12


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Result of a comparison.

    Args:
        windows: number of windows compared.
        lengths: their lengths in samples.
        difference: largest absolute difference of a feature, without those that jumped.
        relative: the same relative to the largest feature of the windows of the same case (at least 1).
        jumps: number of features with a larger difference that rounding errors cause in the encoder itself; see
            `check_parity`.
    """

    windows: int
    lengths: tuple[int, ...]
    difference: float
    relative: float
    jumps: int


def check_parity(
    bundle: EncoderBundle, other: WindowEncoder, real: np.ndarray | None, *, lengths: Sequence[int]
) -> Parity:
    """Compare features of the encoder and of the file, window by window.

    Two runtimes round differently. Where a feature is a position or a count, such as the dominant frequency of two
    equal peaks, rounding makes it jump, in torch as well. A difference above `TOLERANCE` is therefore accepted if the
    file's feature lies within those that the encoder itself gives for the window with relative errors of `ROUNDING`:
    independent ones of samples, and common ones of a channel, which keep a constant channel constant.

    Args:
        bundle: the encoder.
        other: the reloaded file.
        real: (N, C, T) windows of recordings in the units of the specification; None: only made ones.
        lengths: T of the made windows.

    Raises:
        ParityError: another difference above `TOLERANCE`, or a feature that is not finite; names the case.
    """
    windows, jumps, difference, relative = 0, 0, 0.0, 0.0
    seen: set[int] = set()
    for case, x in parity_windows(bundle, real, lengths=lengths):
        ours, theirs = _encoded(bundle, x), _encoded(other, x)
        scale = max(1.0, float(np.abs(ours).max()))
        apart = np.abs(ours - theirs)
        beyond = ~(apart <= TOLERANCE * scale)  # written so that NaN is beyond, too
        rows = np.flatnonzero(beyond.any(1))
        if len(rows):
            low, high = _reach(bundle, x[rows])
            jumped = (theirs[rows] >= low - TOLERANCE * scale) & (theirs[rows] <= high + TOLERANCE * scale)
            wrong = beyond[rows] & ~jumped
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                raise ParityError(
                    f"parity failed: {int(wrong.sum())} features in {int(wrong.any(1).sum())} windows differ on "
                    f"{case}, for example feature {column}: {theirs[rows][row, column]:.4g} in the exported file, "
                    f"{ours[rows][row, column]:.4g} in torch (allowed difference {TOLERANCE * scale:.2g}); nothing was "
                    "written",
                    hint="an encoder whose result depends on the traced window cannot be exported; report the encoder",
                )
        here = float(np.where(beyond, 0, apart).max())
        windows, jumps, seen = windows + len(x), jumps + int(beyond.sum()), seen | {x.shape[2]}
        difference, relative = max(difference, here), max(relative, here / scale)
    return Parity(windows=windows, lengths=tuple(sorted(seen)), difference=difference, relative=relative, jumps=jumps)


def _encoded(encoder: WindowEncoder, x: np.ndarray) -> np.ndarray:
    return encoder.encode(x, rate_hz=encoder.spec.rate_hz, check_units=False)


def _reach(bundle: EncoderBundle, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest features of windows with rounding errors. Shapes: (n, C, T) -> two (n, E)."""
    draw = np.random.default_rng(0)
    samples = draw.uniform(-1, 1, (_DRAWS, *x.shape))
    # A constant channel differs from its computed mean by a rounding error, whose sign decides whether it crosses the
    # mean at a gap. Errors of single samples would replace it by noise; a common factor draws the rounding again.
    channels = np.broadcast_to(draw.uniform(-1, 1, (_DRAWS, *x.shape[:2], 1)), samples.shape)
    several = x * (1 + ROUNDING * np.concatenate([samples, channels])).astype(np.float32)
    features = _encoded(bundle, several.reshape(-1, *x.shape[1:])).reshape(2 * _DRAWS, len(x), -1)
    return features.min(0), features.max(0)


def parity_windows(
    bundle: EncoderBundle, real: np.ndarray | None, *, lengths: Sequence[int], seed: int = 0
) -> Iterator[tuple[str, np.ndarray]]:
    """Windows of every kind that an exported file must treat as the encoder does, with a name for messages.

    Complete windows, gaps at the beginning, inside and at the end, missing channels, one sensor only, single samples;
    each length; one window alone. Real windows are used as they are and with the same gaps.

    Args:
        bundle: encoder with the specification of the windows.
        real: (N, C, T) windows of recordings; None: only made ones.
        lengths: T of the made windows.
        seed: of the made windows.
    """
    draw = np.random.default_rng(seed)
    sources = [(f"made windows of {t} samples", made_windows(bundle, t, seed=seed)) for t in lengths]
    if real is not None and len(real):
        sources.append(("real windows", np.asarray(real, np.float32)))
    for name, x in sources:
        yield name, x
        yield f"{name}, one alone", x[:1]
        for gap in (_holes, _ends, _channels, _thinned):
            spoiled = gap(x.copy(), draw)
            kept = np.isfinite(spoiled).any(axis=(1, 2))
            if kept.any():
                yield f"{name}, {gap.__doc__}", spoiled[kept]


def made_windows(bundle: EncoderBundle, samples: int, *, seed: int = 0) -> np.ndarray:
    """(8, C, T): slow and fast oscillations of each channel around its mean, with noise, at several amplitudes."""
    spec, draw = bundle.spec, np.random.default_rng(seed)
    mean, std = (np.asarray(v, np.float32)[:, None] for v in (spec.mean, spec.std))
    t = np.arange(samples) / spec.rate_hz
    shape = (8, len(spec.channels), 1)
    wave = sum(
        draw.normal(size=shape) * np.sin(2 * np.pi * draw.uniform(0.3, high, shape) * t + draw.uniform(0, 6, shape))
        for high in (2.0, 8.0)
    )
    size = np.array([0.02, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 3.0])[:, None, None]
    x = mean + std * size * (wave + 0.1 * draw.normal(size=(8, len(spec.channels), samples)))
    if spec.gravity == "included" and "acc_z" in spec.channels:
        x[:, spec.channels.index("acc_z")] += GRAVITY if spec.normalised == "none" else 0.0
    return x.astype(np.float32)


def _holes(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """gaps inside"""
    for row in x:
        for channel in row:
            a, b = np.sort(draw.integers(0, x.shape[2], 2))
            channel[a : min(b, a + x.shape[2] // 3)] = np.nan
    return x


def _ends(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """gaps at both ends"""
    quarter = x.shape[2] // 4
    x[::2, :, :quarter] = np.nan
    x[1::2, :, x.shape[2] - quarter :] = np.nan
    return x


def _channels(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """missing channels"""
    x[draw.random(x.shape[:2]) < 0.4] = np.nan
    x[0, x.shape[1] // 2 :] = np.nan
    return x


def _thinned(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """single samples missing"""
    x[draw.random(x.shape) < 0.3] = np.nan
    return x
