"""The size of a study: spread from earlier lines, power by size, and what cannot be planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.cli import app
from eval.plan import measured_spread, plan
from eval.results.lines import Result
from eval.results.store import append_results
from imu_video.errors import ConfigError, DataError
from imu_video.metrics.inference import estimate
from imu_video.metrics.significance import Spread
from imu_video.metrics.variance import REFERENCE_SEED, SEED


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


def test_the_spread_has_the_seeds_of_the_reference_and_support_subjects(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    own = np.arange(96) % 12
    support = np.zeros((96, 20), dtype=bool)
    support[np.arange(96), 8 + own] = True  # 12 subjects that are never a query, eight episodes each
    found = []
    for number in range(16):
        shift = rng.normal(0, 0.06, 12)[own]
        cells = rng.normal(0, 0.02, 8) + shift[:, None] + rng.normal(0, 1e-4, (1, 96, 8))
        with_support = estimate(cells, support=support)
        cells = rng.normal(0, 0.02, 8) + rng.normal(0, 0.05, (8, 1, 1)) + rng.normal(0, 1e-4, (8, 1, 8))
        of_reference = estimate(cells)
        named = [replace(part, factor=REFERENCE_SEED) if part.factor == SEED else part for part in of_reference.parts]
        fields = {"kind": "fewshot-difference", "metric": "macro_f1", "model": "a", "domain": str(number)}
        # Each factor exists in a half of the comparisons, and none may shrink in the median.
        for name, e in (("b", with_support), ("c", replace(of_reference, parts=tuple(named)))):
            found.append(Result.build(e, 0.95, shared={}, seeds={}, reference=name, **fields))
    append_results(tmp_path / "r.jsonl", found)
    spread = measured_spread([tmp_path / "r.jsonl"])
    assert spread.support == pytest.approx(0.06, rel=0.25)
    assert spread.reference == pytest.approx(0.05, rel=0.25)
    assert spread.seed == 0


def test_a_factor_that_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", subject=0.08, seed=0.03)
    path.write_text(path.read_text(encoding="utf-8").replace('"seed":', '"moon":'), encoding="utf-8")
    with pytest.raises(DataError, match="factor 'moon' of the variance cannot be planned, expected one of subject"):
        measured_spread([path])


def test_the_seeds_of_the_reference_and_support_subjects_are_sampled_in_the_plan() -> None:
    spread = Spread(subject=0.01, reference=0.04)
    sizes = plan(spread, 0.06, subjects=[12], reference=[1, 2, 8], studies=60)
    power = [size.power for size in sizes]
    assert power[0] is None, "one pretraining seed of the reference cannot see that they vary"
    assert power[1] is not None
    assert power[2] is not None
    assert power[1] < 0.5 < power[2]
    spread = Spread(subject=0.01, support=0.1)
    sizes = plan(spread, 0.06, subjects=[6, 30], episodes=[1, 20], studies=60)
    power = [size.power for size in sizes]
    assert power[0] is power[2] is None
    assert power[1] is not None
    assert power[3] is not None
    assert power[1] < 0.5 < power[3], "more episodes of the same subjects are no more subjects"


def test_more_subjects_have_more_power_and_one_seed_is_no_study_where_seeds_vary() -> None:
    sizes = plan(Spread(subject=0.05, seed=0.01), 0.05, subjects=[4, 24], seeds=[1, 5], studies=60)
    assert [size[:2] for size in sizes] == [(4, 1), (4, 5), (24, 1), (24, 5)]
    power = {(size.subjects, size.seeds): size.power for size in sizes}
    assert power[4, 1] is None
    assert power[4, 5] is not None
    assert power[24, 5] is not None
    assert power[4, 5] < 0.6 < power[24, 5]


def test_pretraining_seeds_episodes_and_folds_are_sizes_to_choose() -> None:
    spread = Spread(subject=0.02, pretraining=0.04, episode=0.03)
    sizes = plan(spread, 0.06, subjects=[12], pretraining=[1, 2, 8], episodes=[2, 40], studies=60)
    power = {(size.pretraining, size.episodes): size.power for size in sizes}
    assert power[1, 2] is None, "one pretraining seed cannot see that they vary"
    assert power[8, 40] is not None
    assert power[2, 40] is not None
    assert power[2, 40] < 0.5 < power[8, 40]
    folds = plan(Spread(subject=0.02, fold=0.05, seed=0.01), 0.04, subjects=[4, 30], folds=[4, 10], studies=60)
    assert [(size.subjects, size.folds) for size in folds] == [(30, 4), (30, 10)], "folds need more subjects"
    assert folds[0].power is not None
    assert folds[1].power is not None
    assert folds[0].power < folds[1].power


def test_the_command_prints_sizes_and_asks_for_a_spread(tmp_path: Path) -> None:
    words = ["plan", "0.05", "--subjects", "4", "--subjects", "20", "--seeds", "1", "--studies", "40"]
    done = CliRunner().invoke(app, [*words, "--subject-sd", "0.04"])
    assert done.exit_code == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows[1:3]] == [["4", "1"], ["20", "1"]]
    assert rows[2][3] == "yes"
    assert "fewest subjects with power 0.8: 20 subjects, 1 seeds" in done.stdout
    more = ["--subject-sd", "0.02", "--episode-sd", "0.02", "--episodes", "5", "--episodes", "50"]
    done = CliRunner().invoke(app, [*words, *more])
    table = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["4", "1", "5"] in [row[:3] for row in table]
    more = ["--subject-sd", "0.02", "--episode-sd", "0.01", "--support-sd", "0.02", "--reference-sd", "0.02"]
    done = CliRunner().invoke(app, ["plan", "0.05", "--subjects", "6", "--episodes", "5", "--studies", "20", *more])
    table = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["6", "1", "3", "5"] in [row[:4] for row in table], "one seed: episodes and the reference have both axes"
    refused = CliRunner().invoke(app, words)
    assert "either --from or --subject-sd" in str(refused.exception)


@pytest.mark.parametrize(
    ("spread", "difference", "sizes", "words"),
    [
        (Spread(subject=0.1), float("nan"), {}, "difference nan: expected a number"),
        (Spread(subject=0.1), float("inf"), {}, "difference inf"),
        (Spread(subject=0.1), -1e300, {}, "difference -1e"),
        (Spread(subject=float("inf")), 0.1, {}, r"standard deviation \(subject\) inf"),
        (Spread(subject=0.1, rest=1e300), 0.1, {}, r"standard deviation \(rest\)"),
        (Spread(subject=0.0), 0.1, {}, "all standard deviations are 0"),
        (Spread(subject=0.1, support=0.1), 0.1, {"folds": [2]}, "2 folds with a standard deviation of support"),
        (
            Spread(subject=0.1),
            0.1,
            {"seeds": [1, 3], "reference": [2], "episodes": [30]},
            "3 seeds, 2 pretraining seeds of the reference and 30 episodes: no protocol has several of all three",
        ),
        (Spread(subject=0.1), 0.1, {"folds": [5]}, "2 subjects in 5 folds: expected more subjects than folds"),
    ],
)
def test_what_cannot_be_planned_is_an_error(spread: Spread, difference: float, sizes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(spread, difference, subjects=[2], studies=20, **sizes)


def test_one_training_set_cannot_see_that_training_sets_vary() -> None:
    (size,) = plan(Spread(subject=0.02, fold=0.05), 0.05, subjects=[8], studies=20)
    assert size.power is None


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--subject-sd", "0.1", "--metric", "accuracy"], "--metric accuracy without --from"),
        (["--from", "r.jsonl", "--fold-sd", "0.1"], "--fold-sd with --from"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(words: list[str], fault: str) -> None:
    refused = CliRunner().invoke(app, ["plan", "0.05", *words])
    assert fault in str(refused.exception)
