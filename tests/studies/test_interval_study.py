"""The study of intervals: its estimates are those of the package, and its table is what the simulation gives."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from imu_video.metrics import coverage
from imu_video.metrics.inference import estimate, tail

Runner = Callable[[str], ModuleType]
ROWS = Path(__file__).resolve().parents[2] / "studies" / "inference" / "rows.csv"


def rows() -> list[dict[str, str]]:
    with ROWS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rest(row: dict[str, str]) -> tuple[str, str]:
    """Last columns of a row."""
    return row["verdict"], row["in table"]


def check(study: ModuleType, row: dict[str, str], studies: int, deviations: float) -> None:
    """A row of the file against a new simulation with another seed, within the noise of both."""
    subjects, seeds = int(row["subjects"]), int(row["seeds"])
    rng = np.random.default_rng([1, subjects, seeds])
    case = next(c for c in (*study.CASES, *study.FEW_SHOT) if c.name == row["case"])
    simulate = study.covered_few_shot if case in study.FEW_SHOT else study.covered
    share, stated = simulate(case, subjects, seeds, studies, rng), float(row["covered"])
    middle = min(max((share * studies + stated * 2000) / (studies + 2000), 0.5), 0.995)
    noise = math.sqrt(middle * (1 - middle) * (1 / studies + 1 / int(row["studies"])))
    assert abs(share - stated) <= deviations * noise, row


def test_many_studies_at_once_are_estimated_as_one(runner: Runner) -> None:
    study = runner("inference")
    for case in study.CASES:
        for s, r in ((6, 3), (8, 2), (15, 5)):
            if r < case.least:
                continue
            cells, fold = case.draw(np.random.default_rng(1), 3, s, r), case.folds(s, r)
            parts = study.Parts(cells, fold)
            distance = study.distances(parts.value, case.truth)
            folds = None if fold is None else [str(f) for f in fold]
            found = [estimate(own[:, :, None], folds=folds, fraction=case.truth > 0) for own in cells]
            assert parts.value == pytest.approx([e.value for e in found])
            expected = [tail(e.parts, float(d)) for e, d in zip(found, distance, strict=True)]
            # Three factors are integrated with fewer nodes.
            near: dict[str, Any] = {"rel": 0.12, "abs": 2e-3} if len(parts.parts) > 2 else {"abs": 1e-3}
            assert parts.tail(distance) == pytest.approx(expected, **near), case.name


@pytest.mark.parametrize(
    ("case", "subjects", "seeds"),
    [
        ("normal", 8, 1),
        ("normal", 4, 5),
        ("t3 tails", 20, 5),
        ("seeds vary as subjects", 15, 3),
        ("same method, other seeds", 30, 3),
        ("mean 0.95", 6, 1),
        ("training subjects by half", 15, 5),
    ],
)
def test_rows_of_the_file_are_those_of_a_new_simulation(runner: Runner, case: str, subjects: int, seeds: int) -> None:
    found = [r for r in rows() if (r["case"], r["subjects"], r["seeds"]) == (case, str(subjects), str(seeds))]
    assert len(found) == 1
    check(runner("inference"), found[0], 400, 4.0)


@pytest.mark.slow  # about five minutes: the whole grid
def test_every_row_of_the_file_is_that_of_a_new_simulation(runner: Runner) -> None:
    study = runner("inference")
    for row in rows():
        check(study, row, 300, 4.5)


def test_the_table_of_the_package_is_made_from_the_rows(runner: Runner) -> None:
    study = runner("inference")
    table = [
        (r["kind"], r["case"], *(int(r[k]) for k in ("subjects", "seeds", "studies")), float(r["covered"]), *rest(r))
        for r in rows()
    ]
    held = coverage.table()
    assert {k: {s: tuple(ends) for s, ends in own.items()} for k, own in held["cells"].items()} == study.outside(table)
    assert {row[4] for row in table} == {held["studies"]}
    assert sorted({row[2] for row in table}) == held["subjects"]
    assert all(row[6] == study.verdict(row[5]) for row in table)


def test_tables_without_a_difference_are_rarely_decided(runner: Runner) -> None:
    study = runner("inference")
    named = {case.name: case for case in study.CASES}
    rng = np.random.default_rng(2)
    # The last row has three seeds that differ: without the correction a fifth of such tables marks a difference.
    some = [*study.TABLES[6:8], ("same method, other seeds", 30, 3, 15)]
    assert set(some) <= set(study.TABLES)
    wrong = [study.family_error(named[name], s, r, m, 100, rng) for name, s, r, m in some]
    # 100 tables at 5 %: three standard deviations above are 11.5 %.
    assert max(wrong) <= 0.115


def test_the_command_writes_rows_and_table(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = runner("inference")
    out, table = tmp_path / "rows.csv", tmp_path / "coverage.json"
    monkeypatch.setattr(study, "CASES", study.CASES[:2])
    monkeypatch.setattr(study, "FEW_SHOT", study.FEW_SHOT[-1:])
    words = ["simulate", "--studies", "20", "--subjects", "6", "--seeds", "1", "--out", str(out), "--table", str(table)]
    done = CliRunner().invoke(study.app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(out.read_text().splitlines()) == 1 + 3
    assert '"subjects": [' in table.read_text()
    assert "| few-shot, near the ceiling |" in done.stdout
