"""Seeds of steps, and the state out and back."""

from __future__ import annotations

import json

from pretrain.training.state import Best, TrainState, step_seed


def test_seeds_differ_in_every_argument() -> None:
    seeds = [
        step_seed(seed, batch, purpose, rank=rank)
        for seed in (0, 1)
        for batch in range(50)
        for purpose in ("dropout", "augment")
        for rank in range(3)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)


def test_a_seed_never_changes() -> None:
    """A resumed run may be of another day and another process: the value itself is the contract."""
    assert step_seed(0, 0, "dropout") == 2827721913521379327


def test_state_out_and_back() -> None:
    for state in (TrainState(), TrainState(step=3, best=Best(rule="mrr", value=0.1 + 0.2, step=2))):
        assert TrainState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_of_equals_the_earlier_stays() -> None:
    assert not Best(rule="mrr", value=0.5, step=1).beaten_by(0.5)
    assert Best(rule="mrr", value=0.5, step=1).beaten_by(0.6)
    assert Best(rule="loss", value=0.5, step=1).beaten_by(0.4)
