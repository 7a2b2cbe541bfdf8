"""Activities over time from the class probabilities of windows; no encoder and no files here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.bundle.head import Classifier
from imu_video.types import JsonDict


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A time with one prediction.

    Args:
        start, end: seconds on the recording's clock.
        label: predicted class; None where the head abstains.
        probability: mean probability of the most probable class.

    Example:
        >>> Interval(start=0.0, end=5.0, label="walking", probability=0.9).plain()
        {'start_s': 0.0, 'end_s': 5.0, 'label': 'walking', 'probability': 0.9}
    """

    start: float
    end: float
    label: str | None
    probability: float

    def plain(self) -> JsonDict:
        """As JSON values."""
        return {
            "start_s": round(self.start, 6),
            "end_s": round(self.end, 6),
            "label": self.label,
            "probability": round(self.probability, 4),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """Predictions of one recording.

    Args:
        recording: its name.
        start: (N,) start of every moment that has windows, increasing, in seconds.
        step_s: (N,) length of each moment: up to the next one, at most one window.
        probabilities: (N, M).
        intervals: moments of equal prediction that follow each other.

    Example:
        >>> Timeline(
        ...     recording="r",
        ...     start=np.array([0.0]),
        ...     step_s=np.array([5.0]),
        ...     probabilities=np.array([[0.1, 0.9]]),
        ...     intervals=(Interval(start=0.0, end=5.0, label="walking", probability=0.9),),
        ... ).intervals[0].label
        'walking'
    """

    recording: str
    start: np.ndarray
    step_s: np.ndarray
    probabilities: np.ndarray
    intervals: tuple[Interval, ...]


def timeline(
    head: Classifier,
    probabilities: np.ndarray,
    start: np.ndarray,
    *,
    recording: str,
    seconds: float,
    threshold: float | None = None,
) -> Timeline:
    """Combine windows, which may overlap and come from several devices, to intervals.

    The starts of windows divide the recording into moments. The probabilities of a moment are the mean over all windows
    that cover it, of all devices. A moment that no window covers is in no interval.

    Args:
        head: for the classes and the threshold.
        probabilities: (N, M) of the windows.
        start: (N,) starts in seconds, in any order.
        recording: name of the recording.
        seconds: window length.
        threshold: smallest probability of a prediction; None: that of the head.

    Example:
        >>> from imu_video.bundle.head import Head, HeadSpec
        >>> spec = HeadSpec(classes=("sit", "walk"), feature_dim=1, seconds=2.0)
        >>> head = Head(spec=spec, weight=np.zeros((1, 2)), bias=np.zeros(2), encoder="")
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
        >>> line = timeline(head, p, np.array([0.0, 2.0, 4.0]), recording="r", seconds=2.0)
        >>> [(i.start, i.end, i.label) for i in line.intervals]
        [(0.0, 4.0, 'sit'), (4.0, 6.0, 'walk')]
    """
    begins = np.unique(start)
    # Moments end at the next start of a window or at the end of one, so that each is covered by the same windows.
    edges = np.unique(np.concatenate([begins, begins + seconds]))
    edges = edges[np.append(True, np.diff(edges) > 1e-6)]
    low, high = edges[:-1], edges[1:]
    order = np.argsort(start, kind="stable")
    ordered = start[order]
    # A window covers a moment if it starts at or before it and ends at or after its end.
    first = np.searchsorted(ordered, high - seconds - 1e-6)
    last = np.searchsorted(ordered, low + 1e-6, side="right")
    total = np.concatenate([np.zeros((1, probabilities.shape[1])), np.cumsum(probabilities[order], axis=0)])
    covered = last > first
    low, high, first, last = low[covered], high[covered], first[covered], last[covered]
    mean = (total[last] - total[first]) / (last - first)[:, None]
    names = head.names(mean, threshold=threshold)
    return Timeline(
        recording=recording,
        start=low,
        step_s=high - low,
        probabilities=mean,
        intervals=tuple(_merged(low, high, names, mean.max(axis=1))),
    )


def _merged(low: np.ndarray, high: np.ndarray, names: Sequence[str | None], best: np.ndarray) -> list[Interval]:
    out: list[Interval] = []
    begin = 0
    for i in range(1, len(names) + 1):
        if i < len(names) and names[i] == names[begin] and low[i] - high[i - 1] <= 1e-6:
            continue
        weight = (high - low)[begin:i]
        out.append(
            Interval(
                start=float(low[begin]),
                end=float(high[i - 1]),
                label=names[begin],
                probability=float((best[begin:i] * weight).sum() / weight.sum()),
            )
        )
        begin = i
    return out
