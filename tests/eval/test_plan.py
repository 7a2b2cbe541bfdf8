"""The size of a study: spread from earlier lines, power by size, and what cannot be planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.cli import app
from eval.plan import measured_spread, plan
from eval.results.lines import Result
from eval.results.store import append_results
from imu_video.errors import DataError
from imu_video.metrics.inference import estimate
from imu_video.metrics.significance import Spread


def lines(path: Path, *, subject: float, seed: float) -> Path:
    rng = np.random.default_rng(0)
    found = []
    for number in range(30):
        cells = rng.normal(0, subject, (1, 1, 12)) + rng.normal(0, seed, (6, 1, 1)) + rng.normal(0, 1e-4, (6, 1, 12))
        fields = {"kind": "fewshot-difference", "metric": "macro_f1", "model": "a", "domain": str(number)}
        found.append(Result.build(estimate(cells), 0.95, shared={}, seeds={}, reference="b", **fields))
    append_results(path, found)
    return path


def test_the_spread_of_an_earlier_study_is_recovered(tmp_path: Path) -> None:
    found = measured_spread([lines(tmp_path / "r.jsonl", subject=0.08, seed=0.03)])
    assert found.subject == pytest.approx(0.08, rel=0.15)
    assert found.seed == pytest.approx(0.03, rel=0.25)
    with pytest.raises(DataError, match="no paired difference with an interval in 'accuracy'"):
        measured_spread([tmp_path / "r.jsonl"], "accuracy")


def test_more_subjects_have_more_power_and_one_seed_is_no_study_where_seeds_vary() -> None:
    sizes = plan(Spread(subject=0.05, seed=0.01), 0.05, subjects=[4, 24], seeds=[1, 5], studies=60)
    assert [(s, r) for s, r, _ in sizes] == [(4, 1), (4, 5), (24, 1), (24, 5)]
    power = {(s, r): p for s, r, p in sizes}
    assert power[4, 1] is None
    assert power[4, 5] is not None
    assert power[24, 5] is not None
    assert power[4, 5] < 0.6 < power[24, 5]


def test_the_command_prints_sizes_and_asks_for_a_spread(tmp_path: Path) -> None:
    words = ["plan", "0.05", "--subjects", "4", "--subjects", "20", "--seeds", "1", "--studies", "40"]
    done = CliRunner().invoke(app, [*words, "--subject-sd", "0.04"])
    assert done.exit_code == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows[1:3]] == [["4", "1"], ["20", "1"]]
    assert rows[2][3] == "yes"
    refused = CliRunner().invoke(app, words)
    assert "either --from or --subject-sd" in str(refused.exception)
