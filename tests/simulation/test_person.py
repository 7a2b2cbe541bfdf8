"""People: functions of the seed, distinct, and drawn from their population."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import ConfigError
from imu_video.simulation.person import POPULATIONS, STYLES, TRAITS, draw_person, stream


def test_streams_depend_on_every_part() -> None:
    draws = {float(stream(*parts).random()) for parts in ((0, "a"), (0, "b"), (1, "a"), ("0", "a", "x"), (0, "ab"))}
    assert len(draws) == 5


def test_a_person_is_a_function_of_seed_and_name() -> None:
    assert dict(draw_person(3, "p01").traits) == dict(draw_person(3, "p01").traits)
    assert dict(draw_person(3, "p01").traits) != dict(draw_person(4, "p01").traits)


def test_people_differ_in_body_and_habits() -> None:
    people = [draw_person(0, f"p{i:02d}") for i in range(40)]
    for trait, spread in (("height", 0.05), ("walk_cadence", 0.07), ("arm_swing", 0.07), ("squat_depth", 0.05)):
        values = [p[trait] for p in people]
        assert len(set(values)) > 30
        assert np.std(values) > spread, trait
    hands = [p.hand for p in people]
    assert 0 < hands.count("left") < 15
    assert {p.pocket for p in people} == {"left", "right"}


def test_traits_stay_within_their_bounds_and_preferences_are_probabilities() -> None:
    for i in range(30):
        person = draw_person(0, f"p{i:02d}")
        for name, trait in TRAITS.items():
            assert trait.low <= person[name] <= trait.high, name
        for style, options in STYLES.items():
            assert set(person.preferences[style]) == set(options)
            assert sum(person.preferences[style].values()) == pytest.approx(1.0)


def test_choices_follow_the_preferences() -> None:
    person = draw_person(0, "p00")
    rng = stream(0, "choices")
    drawn = [person.choose("sit_legs", rng) for _ in range(400)]
    for option, weight in person.preferences["sit_legs"].items():
        assert abs(drawn.count(option) / 400 - weight) < 0.1


def test_slow_gait_is_slower_shorter_asymmetric_and_trembles() -> None:
    general = [draw_person(0, f"p{i:02d}") for i in range(30)]
    slow = [draw_person(0, f"p{i:02d}", "slow_gait") for i in range(30)]

    def mean(people: list, trait: str) -> float:
        return float(np.mean([abs(p[trait]) for p in people]))

    for trait in ("walk_cadence", "walk_step", "arm_swing", "tempo", "brush_hz"):
        assert mean(slow, trait) < 0.9 * mean(general, trait), trait
    assert mean(slow, "asymmetry") > 3 * mean(general, "asymmetry")
    assert mean(general, "tremor") == 0.0
    assert min(p["tremor"] for p in slow) > 0
    assert all(p.weak in ("left", "right") for p in slow)
    assert all(p.weak is None for p in general)


def test_populations_name_existing_traits() -> None:
    for population in POPULATIONS.values():
        assert {*population.factors, *population.overrides} <= set(TRAITS)


def test_another_day_is_the_same_body_with_slightly_other_habits() -> None:
    person = draw_person(0, "p00")
    today = person.on_day(stream(0, "day"))
    assert today.body == person.body
    assert today["walk_cadence"] != person["walk_cadence"]
    assert abs(today["walk_cadence"] / person["walk_cadence"] - 1) < 0.2


def test_unknown_population_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'slow_gait'"):
        draw_person(0, "p00", "slow_gate")
