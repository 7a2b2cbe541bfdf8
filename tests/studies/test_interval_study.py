"""The study of intervals: a coverage is counted right, a verdict allows for the noise of the simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

Runner = Callable[[str], ModuleType]


def test_a_case_without_seeds_covers_as_stated(runner: Runner) -> None:
    study = runner("inference")
    share, remark = study.covered(study.CASES[0], 8, 1, 300, np.random.default_rng(0))
    assert study.verdict(share, 300) == "as stated"
    assert remark == ""


def test_one_seed_where_seeds_vary_is_found_and_remarked(runner: Runner) -> None:
    study = runner("inference")
    case = next(c for c in study.CASES if c.name == "seeds vary as subjects")
    share, remark = study.covered(case, 15, 1, 200, np.random.default_rng(0))
    assert study.verdict(share, 200) == "too low"
    assert remark.startswith("one seed: variation over seeds is not included (100 %")


def test_verdicts_allow_for_the_number_of_studies(runner: Runner) -> None:
    study = runner("inference")
    assert [study.verdict(c, 10_000) for c in (0.92, 0.93, 0.97, 0.98)] == [
        "too low", "as stated", "as stated", "conservative",
    ]  # fmt: skip
    assert study.verdict(0.915, 500) == "as stated"


def test_the_command_writes_every_row(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = runner("inference")
    words = ["simulate", "--studies", "100", "--subjects", "6", "--seeds", "1", "--out", str(tmp_path / "rows.csv")]
    monkeypatch.setattr(study, "family_error", lambda *_: 0.0)
    done = CliRunner().invoke(study.app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + len(study.CASES)
