"""The study of pairs without a clock: scrambling is undone, the calibration recovers a known model, tables count."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from imu_video.modalities.base import Curve
from imu_video.recordings.pairing import CALIBRATION, PairEstimate, calibrated

Runner = Callable[[str], ModuleType]


def rows(study: ModuleType, count: int, weights: tuple[float, ...]) -> list[object]:
    """Candidates whose being right follows the logistic model with the given weights."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        estimate = PairEstimate(lead=float(rng.uniform(0.1, 6)), correlation=float(rng.uniform(0.3, 0.95)))
        right = rng.random() < calibrated(estimate, weights)
        made.append(
            study.Row(
                source="simulated",
                subject=f"p{number % 4}",
                kind="true" if right else "other subject",
                error_s=0.02 if right else float("nan"),
                offset_s=0.0,
                estimate=estimate,
            )
        )
    return made


def test_the_calibration_recovers_the_model_that_made_the_answers(runner: Runner) -> None:
    study = runner("sync")
    found = study.fitted(rows(study, 2000, CALIBRATION), ridge=1e-3)
    np.testing.assert_allclose(found, CALIBRATION, atol=0.6)


def test_scores_of_a_table_are_kept_by_level(runner: Runner) -> None:
    study = runner("sync")
    made = rows(study, 400, CALIBRATION)
    fit, test = study.split(made)
    assert {row.subject for row in fit} == {"p0", "p1"}
    assert {row.subject for row in test} == {"p2", "p3"}
    lines = study.table(test, None)
    assert len(lines) == 2 + len(study.LEVELS)
    kept = [int(line.split(" of ")[1].split(" |")[0]) for line in lines[2:]]
    assert kept == sorted(kept, reverse=True)
    low, high = study.wilson(9, 10)
    assert 0.59 < low < 0.6
    assert 0.98 < high < 0.99


def test_scrambling_is_undone_by_its_answer(runner: Runner) -> None:
    runner("sync")
    from studies.sync.candidates import Candidate, scrambled

    curve = Curve(times=np.arange(500) / 25.0, values=np.ones(500), breaks=0.1)
    own, offset, stretch = scrambled(curve, np.random.default_rng(1))
    restored = own.times[0] + stretch * (own.times - own.times[0]) + offset
    np.testing.assert_allclose(restored, curve.times, atol=1e-9)
    assert abs(offset) <= 30
    candidate = Candidate(
        source="simulated", subject="p0", kind="true", motion=curve, reference=own, offset_s=offset, stretch=stretch
    )
    assert candidate.error_s(PairEstimate(offset_s=offset + 0.05, stretch=stretch)) == pytest.approx(0.05)
