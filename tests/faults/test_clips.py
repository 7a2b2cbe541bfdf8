"""Damaged clips and videos by seed: every one is read or refused, and no process dies, hangs or needs much memory."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Score
from tests.faults.mutate_clips import KEPT, run

pytestmark = [pytest.mark.slow, pytest.mark.faults]
FAILED = ("DIED", "HUNG", "MEMORY", "ESCAPED")
FRESH = 1_000_000


@pytest.mark.parametrize(("kind", "count"), [("clips", 2000), ("sources", 1000)])
def test_new_seeds(kind: str, count: int, score: Score) -> None:
    total = run(kind, FRESH, count)
    with score(f"damaged {kind}: no death, hang, escaped error or large memory") as case:
        for what, number in total.items():
            for _ in range(number):
                case.add(not what.startswith(FAILED), what)
    assert sum(total.values()) == count


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in KEPT.items() for seed in seeds])
def test_seeds_that_once_failed(kind: str, seed: int, score: Score) -> None:
    total = run(kind, seed, 1)
    with score(f"damaged {kind}, seeds that once failed") as case:
        case.add(not any(what.startswith(FAILED) for what in total), str(total))
