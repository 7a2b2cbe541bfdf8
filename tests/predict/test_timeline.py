"""Overlapping windows of several devices become intervals: against a naive loop over moments."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.bundle.head import Head, HeadSpec
from imu_video.predict.timeline import timeline

SPEC = HeadSpec(classes=("a", "b", "c"), feature_dim=1, seconds=2.0, threshold=0.4)
HEAD = Head(spec=SPEC, weight=np.zeros((1, 3)), bias=np.zeros(3), encoder="")


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 10**6))
def test_every_moment_has_the_mean_of_the_windows_that_cover_it(quarters: list[int], seed: int) -> None:
    start = np.array(quarters) / 4
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), len(start))
    line = timeline(HEAD, probabilities, start, recording="r", seconds=2.0)
    middle = line.start + line.step_s / 2
    for at, found in zip(middle, line.probabilities, strict=True):
        covering = probabilities[(start <= at) & (at < start + 2.0)]
        assert np.allclose(found, covering.mean(axis=0))
    # Moments without a window are in no interval, all others are in exactly one, with the prediction of its moments.
    for at in np.arange(0.125, 13, 0.25):
        covered = bool(((start <= at) & (at < start + 2.0)).any())
        inside = [i for i in line.intervals if i.start <= at < i.end]
        assert len(inside) == covered
        if covered:
            p = probabilities[(start <= at) & (at < start + 2.0)].mean(axis=0)
            expected = SPEC.classes[int(p.argmax())] if p.max() >= 0.4 else None
            assert inside[0].label == expected or abs(p.max() - 0.4) < 1e-9 or np.ptp(np.sort(p)[-2:]) < 1e-9
    assert all(
        one.label != two.label or one.end < two.start
        for one, two in zip(line.intervals, line.intervals[1:], strict=False)
    )


def test_a_threshold_of_zero_never_abstains() -> None:
    p = np.full((4, 3), 1 / 3)
    line = timeline(HEAD, p, np.arange(4.0), recording="r", seconds=2.0, threshold=0.0)
    assert [i.label for i in line.intervals] == ["a"]
    assert [i.label for i in timeline(HEAD, p, np.arange(4.0), recording="r", seconds=2.0).intervals] == [None]
