"""Domains and divisions: what is on which side, and that a planted overlap is refused (methods 4.8, D4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedShuffleSplit

from eval.data.labelmaps import map_labels
from eval.data.windows import LabelledWindows
from eval.protocols.ood.config import Scenario
from eval.protocols.ood.scenario import Division, Domains, divide, division, merge_windows, overlapping
from imu_video.errors import ConfigError, LeakageError

Make = Callable[..., LabelledWindows]
PEOPLE = Scenario(name="people", axis="subject", groups=3)
PLACES = Scenario(name="places", axis="placement")


@pytest.fixture
def windows(make: Make) -> LabelledWindows:
    """Six people, four classes, two recordings of four windows that overlap by half, two placements."""
    return make(windows=4)


def parts(division_: Division) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.concatenate(division_.train), np.concatenate(division_.valid), division_.query


def test_groups_of_consecutive_people(windows: LabelledWindows) -> None:
    domains = divide(windows, PEOPLE)
    assert domains.names == ("s00..s01", "s02..s03", "s04..s05")
    assert [domains.names[d] for d in domains.of[windows.subject == "s03"][:1]] == ["s02..s03"]
    assert len(domains.windows) == len(windows)


@pytest.mark.parametrize("scenario", [PEOPLE, PLACES, Scenario(name="device", axis="device")], ids=lambda s: s.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_stands_on_two_sides(windows: LabelledWindows, scenario: Scenario, seed: int) -> None:
    domains = divide(windows, scenario)
    w = domains.windows
    for target in domains.names:
        split = division(domains, scenario, target=target, seed=seed)
        train, valid, query = parts(split)
        assert not set(w.subject[query]) & set(w.subject[np.union1d(train, valid)])
        assert set(domains.of[query]) == {domains.number(target)}
        assert domains.number(target) not in domains.of[np.union1d(train, valid)]
        for row in train:  # no moment of validation within a window's length
            same = valid[w.recording[valid] == w.recording[row]]
            assert (np.abs(w.start[same] - w.start[row]) >= w.window_s - 1e-9).all()
        for rows, which in zip(split.valid, split.train, strict=True):
            assert set(w.labels[rows]) == set(w.labels[which])  # stratified
        assert 0.1 < len(valid) / (len(train) + len(valid)) < 0.5


def test_everybody_is_asked_once_over_the_folds(windows: LabelledWindows) -> None:
    domains = divide(windows, PLACES)
    asked = [set(domains.windows.subject[division(domains, PLACES, target="wrist", seed=s).query]) for s in range(3)]
    assert set.union(*asked) == set(windows.subject)
    assert sum(map(len, asked)) == 6


def test_shared_people_as_published(windows: LabelledWindows) -> None:
    scenario = PLACES.model_copy(update={"people": "shared"})
    split = division(divide(windows, scenario), scenario, target="wrist")
    train, valid, query = parts(split)
    assert set(windows.subject[query]) == set(windows.subject[train])
    assert set(windows.facts["placement"][np.union1d(train, valid)]) == {"ankle"}
    with pytest.raises(LeakageError, match="in the sources and in the target"):
        Division(domains=split.domains, train=split.train, valid=split.valid, query=query, people="disjoint")


def test_validation_windows_at_random_as_released(windows: LabelledWindows) -> None:
    """A fifth of every class of every source domain, by scikit-learn's draw with the seed of the run."""
    named = {"b": ["s03", "s02"], "a": ["s00", "s01"], "c": ["s04", "s05"]}
    scenario = Scenario(name="x", axis="subject", domains=named, validation_by="windows")
    domains = divide(windows, scenario)
    w = domains.windows
    splits = [division(domains, scenario, target="a", seed=seed) for seed in (42, 42, 0)]
    train, valid, query = parts(splits[0])
    assert np.array_equal(valid, parts(splits[1])[1])
    assert not np.array_equal(valid, parts(splits[2])[1])
    assert len(train) + len(valid) == (~np.isin(w.subject, ["s00", "s01"])).sum(), "no window is left out"
    assert not set(w.subject[query]) & set(w.subject[np.union1d(train, valid)])
    # 32 windows of each class in a domain: 6.4 of them validate.
    for rows in splits[0].valid:
        assert set(np.bincount(w.labels[rows])) <= {6, 7}
    assert len(np.intersect1d(overlapping(w, train, valid), train)), "the leakage of the released code"
    # The released code reads the subjects of a domain in the order of its list.
    order = np.concatenate([np.flatnonzero(w.subject == s) for s in ("s03", "s02")])
    naive = StratifiedShuffleSplit(2, test_size=0.2, train_size=0.8, random_state=42)
    _, drawn = next(naive.split(np.arange(len(order)), w.labels[order]))
    assert np.array_equal(np.sort(order[drawn]), splits[0].valid[0])
    with pytest.raises(LeakageError, match="overlap"):
        replace(splits[0], validation_by="times")


def test_random_validation_requires_two_windows_of_a_class(windows: LabelledWindows) -> None:
    scenario = PEOPLE.model_copy(update={"validation_by": "windows"})
    rare = np.flatnonzero((windows.labels == 0) & (windows.subject == "s02"))
    few = windows.take(np.union1d(np.flatnonzero((windows.labels > 0) | (windows.subject < "s02")), rare[:1]))
    with pytest.raises(
        ConfigError, match=r"domain 's02..s03' cannot be divided at random by class \(.*\): {'activity0': 1"
    ):
        division(divide(few, scenario.model_copy(update={"absent": "keep"})), scenario, target="s00..s01")


def test_classes_that_a_domain_lacks_are_kept_on_request(windows: LabelledWindows) -> None:
    lacking = windows.take(np.flatnonzero((windows.labels != 2) | (windows.subject > "s01")))
    keep = PEOPLE.model_copy(update={"absent": "keep"})
    assert divide(lacking, keep).windows.classes == windows.classes
    assert divide(lacking, keep.model_copy(update={"labels": ["activity1", "activity2"]})).windows.classes == (
        "activity1",
        "activity2",
    )


def test_a_held_domain_neither_trains_nor_is_the_target(windows: LabelledWindows) -> None:
    domains = divide(windows, PEOPLE)
    split = division(domains, PEOPLE, target="s00..s01", held="s02..s03")
    train, valid, query = parts(split)
    assert set(domains.of[query]) == {1}
    assert set(domains.of[np.union1d(train, valid)]) == {2}


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda t, v, q: (np.append(t, v[0]), v, q), "training and validation"),
        (lambda t, v, q: (np.append(t, q[0]), v, q), "sources and target"),
        (lambda t, v, q: (t, np.append(v, q[:1]), q), "sources and target"),
    ],
)
def test_a_planted_window_is_refused(windows: LabelledWindows, plant: Callable[..., Any], message: str) -> None:
    domains = divide(windows, PEOPLE)
    split = division(domains, PEOPLE, target="s00..s01")
    t, v, q = plant(*parts(split))
    with pytest.raises(LeakageError, match=message):
        Division(domains=domains, train=(t,), valid=(v,), query=q, people="disjoint")


def test_a_planted_person_recording_or_moment_is_refused(windows: LabelledWindows) -> None:
    domains = divide(windows, PEOPLE)
    train, valid, query = parts(division(domains, PEOPLE, target="s00..s01"))
    stranger, other = query[0], query[1:]
    with pytest.raises(LeakageError, match="'s00'"):
        Division(domains=domains, train=(np.append(train, stranger),), valid=(valid,), query=other, people="disjoint")
    names = windows.recording.copy()
    names[query] = windows.recording[train[0]]
    planted = Domains(
        windows=replace(windows, facts={**windows.facts, "recording": names}), names=domains.names, of=domains.of
    )
    with pytest.raises(LeakageError, match="recordings"):
        Division(domains=planted, train=(train,), valid=(valid,), query=query, people="disjoint")
    everything = np.flatnonzero(domains.of > 0)
    late = valid[:1]
    with pytest.raises(LeakageError, match="overlap"):
        Division(
            domains=domains, train=(np.setdiff1d(everything, late),), valid=(late,), query=query, people="disjoint"
        )


def test_what_cannot_be_is_refused_by_name(windows: LabelledWindows) -> None:
    with pytest.raises(ConfigError, match=r"no axis 'placment'.*placement"):
        divide(windows, Scenario(name="x", axis="placment"))
    with pytest.raises(ConfigError, match="no value 'hip'"):
        divide(windows, Scenario(name="x", axis="placement", domains={"a": ["hip"], "b": ["wrist"]}))
    with pytest.raises(LeakageError, match="'wrist' is in domain 'a' and in domain 'b'"):
        divide(windows, Scenario(name="x", axis="placement", domains={"a": ["wrist"], "b": ["wrist", "ankle"]}))
    with pytest.raises(ConfigError, match="no label 'fly'"):
        divide(windows, Scenario(name="x", axis="subject", labels=["fly"]))
    with pytest.raises(ConfigError, match="are too few for 7 groups") as few:
        divide(windows, Scenario(name="x", axis="subject", groups=7))
    remedy = int(re.search(r"scenario\.groups=(\d+)", str(few.value)).group(1))  # type: ignore[union-attr]
    assert len(divide(windows, Scenario(name="x", axis="subject", groups=remedy)).names) == remedy
    with pytest.raises(ConfigError, match="no domain 'wrst'"):
        division(divide(windows, PLACES), PLACES, target="wrst")
    with pytest.raises(ConfigError, match="no source domain"):
        division(divide(windows, PLACES), PLACES, target="wrist", held="ankle")


def test_only_classes_of_every_domain_stay(windows: LabelledWindows) -> None:
    lacking = windows.take(np.flatnonzero((windows.labels != 2) | (windows.subject > "s01")))
    domains = divide(lacking, PEOPLE)
    assert domains.windows.classes == ("activity0", "activity1", "activity3")
    assert set(domains.windows.labels) == {0, 1, 2}
    with pytest.raises(ConfigError, match="'activity2' is missing in 1 domains"):
        divide(lacking, PEOPLE.model_copy(update={"labels": ["activity1", "activity2"]}))


def test_per_class_thins_evenly(windows: LabelledWindows) -> None:
    few = divide(windows, PLACES.model_copy(update={"per_class": 3})).windows
    groups = set(zip(few.subject, few.labels, few.facts["placement"], strict=True))
    assert len(few) == 3 * len(groups) == 3 * 6 * 4 * 2


@pytest.mark.parametrize(
    ("names", "words"),
    [(("x", " "), "' ' is blank"), (("Walk_up", "walk  up"), "'Walk_up' and 'walk  up' differ in case")],
)
def test_common_labels_have_names_of_their_own(windows: LabelledWindows, names: tuple[str, str], words: str) -> None:
    maps = {windows.dataset: dict(zip(windows.classes, names, strict=False))}
    with pytest.raises(ConfigError, match=words):
        map_labels(windows, maps)


def test_several_datasets_with_a_label_map(make: Make) -> None:
    a, b = make(people=3, seed=1), replace(make(people=3, classes=3, rate_hz=64.0, time=128), dataset="other")
    merged = merge_windows([a, b])
    assert merged.rate_hz == 32
    assert merged.x.shape[1:] == (6, 64)
    assert set(merged.facts["dataset"]) == {"made", "other"}
    assert "made:s00" in merged.subject
    assert "other:s00" in merged.subject
    maps = {"made": {"activity0": "slow", "activity3": "fast"}, "other": {"activity0": "slow", "activity2": "fast"}}
    domains = divide(merged, Scenario(name="sets", axis="dataset", label_map=maps))
    assert domains.windows.classes == ("fast", "slow")
    split = division(domains, Scenario(name="sets", axis="dataset", label_map=maps), target="other")
    assert set(domains.windows.facts["dataset"][split.query]) == {"other"}
    assert len(set(domains.windows.subject[split.query])) == 3  # nobody is in two datasets: no folds are needed
    with pytest.raises(ConfigError, match="no label 'activity9'"):
        divide(merged, Scenario(name="sets", axis="dataset", label_map={"made": {"activity9": "x"}}))
    with pytest.raises(ConfigError, match=r"window\.seconds"):
        merge_windows([a, make(time=32)])
