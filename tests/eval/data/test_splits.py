"""Episodes: disjoint people, nested supports, spread shots, and planted leaks that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eval.data.splits import Domain, Episode, EpisodeConfig, Slice, draw_episodes, refuse_training_subjects
from eval.data.windows import LabelledWindows
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError

PEOPLE = Domain(name="people")


def test_support_and_query_share_nobody(windows: LabelledWindows) -> None:
    drawn = draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[1, 5], episodes=20))
    assert len(drawn.episodes) == 20
    for episode in drawn.episodes:
        givers = set(windows.subject[episode.support.ravel()])
        takers = set(windows.subject[episode.query])
        assert givers
        assert takers
        assert not givers & takers
        assert givers | takers == set(windows.subject)
        assert not set(windows.recording[episode.support.ravel()]) & set(windows.recording[episode.query])
    assert set(drawn.subjects) == set(windows.subject), "over the episodes everybody is asked"


def test_supports_are_nested_and_of_the_right_class(windows: LabelledWindows) -> None:
    drawn = draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[1, 3, 5], episodes=5))
    for episode in drawn.episodes:
        five, classes = episode.support_rows(5)
        assert len(set(five.tolist())) == len(five) == 5 * len(drawn.classes)
        assert np.array_equal(windows.labels[five], drawn.classes[classes])
        for shots in (1, 3):
            assert set(episode.support_rows(shots)[0].tolist()) <= set(five.tolist())


def test_shots_go_round_people_recordings_and_time(make: Callable[..., LabelledWindows]) -> None:
    windows = make(windows=4)  # starts 0, 1, 2, 3 s at 2 s length: a window that overlaps no other always exists
    drawn = draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[6], episodes=10, support_subjects=2))
    for episode in drawn.episodes:
        for rows in episode.support:
            people, counts = np.unique(windows.subject[rows], return_counts=True)
            assert counts.tolist() == [3, 3]
            for person in people:
                own = rows[windows.subject[rows] == person]
                # two recordings exist: both are used before a third shot repeats one, without overlap in time
                assert len(set(windows.recording[own].tolist())) == 2
                for name in set(windows.recording[own].tolist()):
                    starts = np.sort(windows.start[own][windows.recording[own] == name])
                    assert np.all(np.diff(starts) >= windows.window_s)


def test_episodes_depend_on_seed_and_name_only(windows: LabelledWindows) -> None:
    def rows(name: str = "people", seed: int = 0, episodes: int = 4) -> list[list[int]]:
        drawn = draw_episodes(windows, Domain(name=name), EpisodeConfig(episodes=episodes, seed=seed))
        return [e.support.ravel().tolist() for e in drawn.episodes]

    assert rows() == rows()
    assert rows() == rows(episodes=9)[:4], "more episodes continue the same sequence"
    assert rows() != rows(seed=1)
    assert rows() != rows(name="other")


def test_transfer_takes_support_and_query_from_different_places(windows: LabelledWindows) -> None:
    domain = Domain(
        name="ankle", setting="transfer", placements=["ankle"], source=Slice(split="test", placements=["wrist"])
    )
    for episode in draw_episodes(windows, domain, EpisodeConfig(episodes=10)).episodes:
        assert set(windows.facts["placement"][episode.support.ravel()]) == {"wrist"}
        assert set(windows.facts["placement"][episode.query]) == {"ankle"}
        assert not set(windows.subject[episode.support.ravel()]) & set(windows.subject[episode.query])


def test_transfer_from_other_people_leaves_all_targets_as_queries(windows: LabelledWindows) -> None:
    split = np.where(windows.subject < "s03", "train", "test")
    both = replace(windows, facts={**windows.facts, "split": split})
    domain = Domain(name="new", setting="transfer", source=Slice(split="train"))
    drawn = draw_episodes(both, domain, EpisodeConfig(shots=[1], episodes=3, support_subjects=3))
    for episode in drawn.episodes:
        assert episode.query_subjects == ["s03", "s04", "s05"]


def test_a_planted_person_on_both_sides_is_refused(windows: LabelledWindows) -> None:
    episode = draw_episodes(windows, PEOPLE, EpisodeConfig(episodes=1)).episodes[0]
    planted = np.append(episode.query, episode.support[0, 0])
    with pytest.raises(LeakageError, match=r"subjects \['s\d\d'\] are in support and in query"):
        Episode(windows=windows, support=episode.support, query=planted)


def test_a_planted_recording_on_both_sides_is_refused(windows: LabelledWindows) -> None:
    episode = draw_episodes(windows, PEOPLE, EpisodeConfig(episodes=1)).episodes[0]
    recording = windows.recording.copy().astype("U32")
    recording[[episode.support[0, 0], episode.query[0]]] = "shared"
    shared = replace(windows, facts={**windows.facts, "recording": recording})
    with pytest.raises(LeakageError, match="recordings"):
        Episode(windows=shared, support=episode.support, query=episode.query)


def test_people_of_the_pretraining_are_refused(windows: LabelledWindows) -> None:
    def lineage(dataset: str, **subjects: list[str]) -> dict[str, object]:
        return {
            "dataset": {"dataset": dataset, "subjects": subjects},
            "config": {"data.train_split": "train", "data.val_split": "val"},
        }

    rows = np.arange(len(windows))
    assert refuse_training_subjects(lineage("made", train=["s90"]), windows, rows) == []
    assert refuse_training_subjects(lineage("other", train=["s01"]), windows, rows) == []
    assert refuse_training_subjects({}, windows, rows) == []
    assert refuse_training_subjects(lineage("made", train=["s90"], val=["s02"]), windows, rows) == ["s02"]
    with pytest.raises(LeakageError, match=r"made \['s01'\]"):
        refuse_training_subjects(lineage("made", train=["s01", "s77"], val=["s02"]), windows, rows)


def test_scarce_classes_are_named_not_dropped_silently(windows: LabelledWindows) -> None:
    scarce = windows.take(np.flatnonzero((windows.labels != 3) | (np.arange(len(windows)) % 48 == 36)))
    drawn = draw_episodes(scarce, PEOPLE, EpisodeConfig(shots=[12], episodes=2, support_subjects=4))
    assert drawn.left_out == ("activity3",)
    assert "activity3" not in drawn.names
    with pytest.raises(ConfigError, match=r"activity3.*12 shots"):
        draw_episodes(scarce, Domain(name="p", labels=["activity0", "activity3"]), EpisodeConfig(shots=[12]))


def test_impossible_draws_say_why(windows: LabelledWindows, make: Callable[..., LabelledWindows]) -> None:
    with pytest.raises(ConfigError, match="only 5 of 6 subjects"):
        draw_episodes(windows, PEOPLE, EpisodeConfig(support_subjects=6))
    with pytest.raises(ConfigError, match=r"different subjects, all windows are of 's00'\n.*imu-video split"):
        draw_episodes(make(people=1), PEOPLE, EpisodeConfig())
    with pytest.raises(ConfigError, match=r"at least 500 windows and two subjects each, found 0") as error:
        draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[1, 500]))
    fewer = int(str(error.value.hint).split("--shots ")[1].split()[0])
    assert draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[fewer])).episodes
    with pytest.raises(ConfigError, match="label 'sleeping' is not among"):
        draw_episodes(windows, Domain(name="p", labels=["sleeping", "activity1"]), EpisodeConfig())
    with pytest.raises(ConfigError, match="no draw of 1 support subjects out of 200 had 13 windows"):
        draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[13], support_subjects=1))


def test_filters_name_what_is_unknown(windows: LabelledWindows) -> None:
    assert len(windows.rows(where={"device": "cheap"}, placements=["ankle"])) == len(windows) // 4
    assert len(windows.rows(where={"device": ["cheap", "good"]})) == len(windows)
    with pytest.raises(ConfigError, match="filter 'devise': no such tag; did you mean 'device'"):
        windows.rows(where={"devise": "cheap"})
    with pytest.raises(ConfigError, match=r"device='cheep' keeps no labelled window; did you mean 'cheap'"):
        windows.rows(where={"device": "cheep"})


def test_windows_are_thinned_a_person_and_class_once(windows: LabelledWindows) -> None:
    drawn = draw_episodes(windows, PEOPLE, EpisodeConfig(shots=[1, 2], episodes=10, windows_per_class=3))
    used = drawn.rows
    assert len(used) == 6 * 4 * 3
    for person in np.unique(windows.subject):
        own = used[windows.subject[used] == person]
        assert np.bincount(windows.labels[own]).tolist() == [3, 3, 3, 3]
        for c in range(4):  # both recordings of the class are kept
            assert len(np.unique(windows.recording[own[windows.labels[own] == c]])) == 2


def test_config_mistakes_are_refused() -> None:
    with pytest.raises(ConfigError, match="`source` is required with setting: transfer"):
        validate({"name": "x", "setting": "transfer"}, Domain, source="test")
    with pytest.raises(ConfigError, match="shots must be distinct"):
        validate({"shots": [1, 1]}, EpisodeConfig, source="test")


def test_people_of_mixtures_and_of_initial_encoders_are_refused(windows: LabelledWindows) -> None:
    rows = np.arange(len(windows))
    config = {"data.val_split": "val"}
    mixture = {"dataset": "made; other", "subjects": {"train": ["made/s90", "other/s01"], "val": ["made/s02"]}}
    assert refuse_training_subjects({"dataset": mixture, "config": config}, windows, rows) == ["s02"]
    mixture["subjects"]["train"].append("made/s01")  # type: ignore[index]
    with pytest.raises(LeakageError, match=r"made \['s01'\]"):
        refuse_training_subjects({"dataset": mixture, "config": config}, windows, rows)
    other = {"dataset": "other", "subjects": {"train": ["s01"]}}
    started = {"dataset": other, "config": config, "init": {"lineage": {"dataset": mixture, "config": config}}}
    with pytest.raises(LeakageError, match=r"made \['s01'\]"):
        refuse_training_subjects(started, windows, rows)
