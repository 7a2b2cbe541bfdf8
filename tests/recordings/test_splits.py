"""Subjects never meet across splits, whatever the config says."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.recordings.splits import SplitConfig, assign

PEOPLE = [f"s{i}" for i in range(1, 9)]


def test_explicit_lists_are_kept() -> None:
    split = assign(PEOPLE, SplitConfig(subjects={"train": ["s5", "s1", "s3"], "val": ["s7"], "test": ["s2", "s4"]}))
    assert split == {"train": ["s1", "s3", "s5"], "val": ["s7"], "test": ["s2", "s4"]}


def test_overlap_is_refused() -> None:
    with pytest.raises(LeakageError, match=r"'s3' is in split 'train' and in split 'test'") as error:
        assign(PEOPLE, SplitConfig(subjects={"train": ["s1", "s3"], "test": ["s3"]}))
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SplitConfig(subjects={"train": ["s11"]}), r"no subject 's11'; did you mean 's1'"),
        (SplitConfig(subjects={"train": ["s1"], "test": []}), "'test' has no subjects"),
        (SplitConfig(fractions={f"f{i}": 0.1 for i in range(10)}), "8 subjects cannot be divided into 10"),
    ],
)
def test_impossible_splits_are_refused(config: SplitConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assign(PEOPLE, config)


@pytest.mark.parametrize(
    "raw",
    [
        {"subjects": {"a": ["s1"]}, "fractions": {"a": 1.0}},
        {"fractions": {"train": 0.7, "test": 0.2}},
        {"fractions": {"train": 1.5, "test": -0.5}},
        {"fractions": {"train.a": 1.0}},
        {"subjects": {}},
        {"fraction": {"train": 1.0}},
    ],
)
def test_contradictory_configs_are_refused(raw: dict) -> None:
    with pytest.raises(ConfigError):
        validate(raw, SplitConfig, source="splits")


@given(
    st.integers(1, 40),
    st.lists(st.floats(0.02, 1.0), min_size=1, max_size=5),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_fractions_partition_everybody(n: int, weights: list[float], seed: int, shuffle) -> None:
    people = [f"p{i:02d}" for i in range(n)]
    fractions = {f"f{i}": w / sum(weights) for i, w in enumerate(weights)}
    config = SplitConfig(fractions=fractions, seed=seed)
    if n < len(weights):
        with pytest.raises(ConfigError):
            assign(people, config)
        return
    split = assign(people, config)
    assert sorted(s for members in split.values() for s in members) == people
    assert all(members for members in split.values())
    shuffle.shuffle(people)
    assert assign(people, config) == split  # the order of listing does not matter


def test_seed_matters_and_default_is_three_way() -> None:
    people = [f"p{i}" for i in range(30)]
    first, second = assign(people, SplitConfig(seed=0)), assign(people, SplitConfig(seed=1))
    assert first != second
    assert {name: len(members) for name, members in first.items()} == {"train": 21, "val": 5, "test": 4}
    assert SplitConfig().names == ("train", "val", "test")


GROUPS = {subject: {"group": "old" if number < 6 else "young"} for number, subject in enumerate(PEOPLE)}


@given(seed=st.integers(0, 50))
def test_strata_are_divided_alike(seed: int) -> None:
    config = SplitConfig(fractions={"train": 0.5, "test": 0.5}, stratify="group", seed=seed)
    split = assign(PEOPLE, config, GROUPS)
    assert sorted(chain.from_iterable(split.values())) == PEOPLE
    assert {name: sum(GROUPS[s]["group"] == "old" for s in people) for name, people in split.items()} == {
        "train": 3,
        "test": 3,
    }
    folds = [assign(PEOPLE, SplitConfig(fold=i, folds=2, stratify="group", seed=seed), GROUPS)["test"] for i in (1, 2)]
    assert sorted(chain.from_iterable(folds)) == PEOPLE
    assert [sum(GROUPS[s]["group"] == "old" for s in people) for people in folds] == [3, 3]


def test_folds_test_every_subject_once() -> None:
    for folds, count in (("loso", 8), (3, 3)):
        splits = [assign(PEOPLE, SplitConfig(fold=i, folds=folds)) for i in range(1, count + 1)]
        assert sorted(s for split in splits for s in split["test"]) == PEOPLE
        assert all(sorted(split["train"] + split["test"]) == PEOPLE for split in splits)
    assert assign(PEOPLE, SplitConfig(fold=3, folds="loso"))["test"] == ["s3"]
    rest = assign(PEOPLE, SplitConfig(fold=3, folds="loso", fractions={"train": 0.6, "val": 0.15, "test": 0.25}))
    assert [len(rest[name]) for name in ("train", "val", "test")] == [6, 1, 1]
    assert SplitConfig().model_dump() == {"subjects": None, "fractions": None, "seed": 0}, "digests stay"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": 1}, "'fold' and 'folds' come together"),
        ({"fold": 4, "folds": 3}, "fold is 4, expected 1 .. 3"),
        ({"fold": 1, "folds": 2, "subjects": {"test": ["s1"]}}, "names every split"),
        ({"fold": 9, "folds": "loso"}, "has 8 subjects, expected at least 9"),
        ({"fold": 1, "folds": 9}, "has 8 subjects, expected at least 9"),
        ({"stratify": "grop"}, "no subject has the tag 'grop'; did you mean 'group'"),
    ],
)
def test_bad_folds(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assign(PEOPLE, validate(options, SplitConfig, source="test"), GROUPS)
