"""The rules disagree on a made-up table, each as it should (methods 4.8, D3)."""

from __future__ import annotations

import numpy as np
import pytest

from eval.protocols.ood.selection import Outcome, choose, overall
from imu_video.errors import DataError


def outcome(lr: float, seed: int, *, valid: float, score: float, held: str | None = None) -> Outcome:
    hits = round(100 * score)
    return Outcome(
        model="cnn",
        algorithm="erm",
        setting=(("lr", lr),),
        target="t",
        held=held,
        seed=seed,
        valid=valid,
        score=score,
        people={"p": np.array([[hits, 100 - hits], [0, 0]])},
    )


TABLE = [
    # setting 1: best on source validation; 2: best in the target; 3: best on left-out sources
    *(outcome(1.0, s, valid=0.9 + 0.01 * s, score=0.5) for s in (0, 1)),
    *(outcome(2.0, s, valid=0.7, score=0.8 + 0.02 * s) for s in (0, 1)),
    *(outcome(3.0, s, valid=0.8, score=0.6) for s in (0, 1)),
    *(
        outcome(lr, s, valid=0.99, score=score, held=h)
        for lr, score in ((1.0, 0.4), (2.0, 0.5), (3.0, 0.7))
        for s in (0, 1)
        for h in ("a", "b")
    ),
]


@pytest.mark.parametrize(("rule", "lr"), [("source", 1.0), ("oracle", 2.0), ("lodo", 3.0)])
def test_each_rule_picks_its_own(rule: str, lr: float) -> None:
    chosen = choose(TABLE, rule)
    assert [dict(o.setting)["lr"] for o in chosen] == [lr, lr]
    assert [o.seed for o in chosen] == [0, 1]
    assert all(o.held is None for o in chosen)


def test_oracle_is_never_below_source_validation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        table = [outcome(lr, s, valid=rng.random(), score=rng.random()) for lr in (1.0, 2.0, 3.0) for s in (0, 1, 2)]
        source, oracle = (np.mean([o.score for o in choose(table, rule)]) for rule in ("source", "oracle"))
        assert oracle >= source - 1e-12


def test_unfinished_grids_are_refused() -> None:
    with pytest.raises(DataError, match="different seeds"):
        choose(TABLE[:3], "source")
    with pytest.raises(DataError, match="left-out"):
        choose(TABLE[:6], "lodo")


def test_overall_is_a_mean_over_targets_and_a_deviation_over_seeds() -> None:
    by_target = {
        "a": [outcome(1.0, 0, valid=1, score=0.4), outcome(1.0, 1, valid=1, score=0.6)],
        "b": [outcome(1.0, 0, valid=1, score=0.6), outcome(1.0, 1, valid=1, score=1.0)],
    }
    mean, deviation = overall(by_target)
    assert mean == pytest.approx(0.65)
    assert deviation == pytest.approx(0.15)  # of 0.5 and 0.8, divided by n


def moved(lr: float, seed: int, accuracies: dict[int, float], *, held: str | None = None) -> Outcome:
    """A run whose best checkpoint on source validation is the first."""
    people = {step: {"p": np.array([[round(100 * a), 100 - round(100 * a)], [0, 0]])} for step, a in accuracies.items()}
    plain = outcome(lr, seed, valid=0.9, score=next(iter(accuracies.values())), held=held)
    return Outcome(**{**vars(plain), "checkpoints": people})


def test_domainbeds_oracle_has_the_last_checkpoint_and_its_cross_validation_chooses_one() -> None:
    table = [
        moved(1.0, 0, {100: 0.9, 200: 0.5, 300: 0.6}),
        moved(2.0, 0, {100: 0.4, 200: 0.6, 300: 0.7}),
        *(moved(1.0, 0, {100: 0.1, 200: 0.8, 300: 0.2}, held=h) for h in ("a", "b")),
        moved(2.0, 0, {100: 0.3, 200: 0.1, 300: 0.7}, held="a"),
        moved(2.0, 0, {100: 0.3, 200: 0.2, 300: 0.7}, held="b"),
    ]
    (oracle,), (last,), (step,) = (choose(table, rule) for rule in ("oracle", "oracle_last", "lodo_step"))
    assert (dict(oracle.setting)["lr"], oracle.score) == (1.0, 0.9), "at the checkpoint of source validation"
    assert (dict(last.setting)["lr"], last.score) == (2.0, 0.7), "at the last checkpoint"
    assert (dict(step.setting)["lr"], step.score) == (1.0, 0.5), "step 200: 0.8 on the left-out domains"
    # By hand, over all pairs of setting and step: mean accuracy on the left-out domains, and the target accuracy there.
    pairs = {
        (lr, at): np.mean([o.at(at).score for o in table if o.held and dict(o.setting)["lr"] == lr])
        for lr in (1.0, 2.0)
        for at in (100, 200, 300)
    }
    assert max(pairs, key=lambda pair: pairs[pair]) == (1.0, 200)
    with pytest.raises(DataError, match="lack the counts of their checkpoints"):
        choose(TABLE, "oracle_last")
    with pytest.raises(DataError, match="left-out"):
        choose(table[:2], "lodo_step")


def test_seeds_may_be_selected_separately() -> None:
    table = [outcome(lr, s, valid=0.9 if lr == 1 + s else 0.1, score=lr / 10) for lr in (1.0, 2.0) for s in (0, 1)]
    assert [dict(o.setting)["lr"] for o in choose(table, "source", per_seed=True)] == [1.0, 2.0]
    assert len({o.setting for o in choose(table, "source")}) == 1
    redrawn = [outcome(0.1, 0, valid=0.5, score=0.5), outcome(0.2, 1, valid=0.5, score=0.5)]
    assert len(choose(redrawn, "source", per_seed=True)) == 2
    with pytest.raises(DataError, match="different seeds"):
        choose(redrawn, "source")
