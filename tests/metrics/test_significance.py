"""Paired tests and their corrections against the textbook."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from imu_video.metrics.significance import holm, minimum_detectable, signed_rank_p


def test_signed_rank_by_enumeration() -> None:
    d = np.random.default_rng(3).normal(0.3, 1, 8)
    ranks = np.argsort(np.argsort(np.abs(d))) + 1
    seen = ranks[d > 0].sum()
    middle = ranks.sum() / 2
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=8)]
    exact = np.mean([abs(s - middle) >= abs(seen - middle) for s in sums])
    assert signed_rank_p(d) == pytest.approx(exact)


def test_signed_rank_limits() -> None:
    assert signed_rank_p(np.zeros(6)) == 1
    assert signed_rank_p(np.array([0.5])) == 1
    assert signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(0.0625)
    assert signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])) == pytest.approx(0.0625)


def test_holm_by_steps() -> None:
    p = np.array([0.04, 0.001, 0.5, 0.03])
    expected = [max(3 * 0.03, 2 * 0.04), 0.004, 0.5, 0.09]
    assert holm(p).tolist() == pytest.approx(expected)
    assert holm(np.array([])).tolist() == []
    assert (holm(np.full(40, 0.2)) == 1).all()


def test_holm_keeps_the_family_error() -> None:
    rng = np.random.default_rng(0)
    false = [bool((holm(rng.random(10)) < 0.05).any()) for _ in range(4000)]
    assert np.mean(false) == pytest.approx(0.05, abs=0.012)


def test_minimum_detectable_is_found_with_its_power() -> None:
    rng = np.random.default_rng(0)
    people, spread = 12, 0.1
    found = []
    for _ in range(3000):
        d = rng.normal(0, spread, people)
        smallest = minimum_detectable(d * spread / d.std(ddof=1))
        t = (rng.normal(smallest, spread, people)).mean() / (spread / math.sqrt(people))
        found.append(t > 2.201)  # t of 11 degrees at 97.5 %
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)
    assert minimum_detectable(np.array([1.0])) == math.inf
