"""Repeated files: found by content, tagged or left out, without a label where the copies disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.datasets.layout import Take
from imu_video.datasets.repeated import same_content, without_false_labels


@pytest.fixture
def takes(tmp_path: Path) -> list[Take]:
    found = []
    for name, text, label in (("a", "one", "walk"), ("b", "two", "run"), ("c", "one", "walk"), ("d", "two", "sit")):
        path = tmp_path / name
        path.write_text(text)
        found.append(Take(subject="s", name=name, paths=(path,), label=label))
    return found


def test_equal_size_is_not_equal_content(takes: list[Take]) -> None:
    groups = same_content([take.paths[0] for take in reversed(takes)])
    assert [[path.name for path in group] for group in groups] == [["a", "c"], ["b", "d"]]


def test_copies_that_agree_keep_their_label(takes: list[Take], caplog: pytest.LogCaptureFixture) -> None:
    kept = without_false_labels(takes, dataset="made_up", repeated="keep")
    assert [(t.name, t.label, dict(t.tags)) for t in kept] == [
        ("a", "walk", {}),
        ("b", None, {"label": "ambiguous"}),
        ("c", "walk", {"same_as": "a"}),
        ("d", None, {"label": "ambiguous", "same_as": "b"}),
    ]
    assert caplog.messages == [
        "made_up: 2 files repeat the content of another one (tag same_as); 2 files that have several labels get none"
    ]


def test_copies_are_left_out(takes: list[Take]) -> None:
    kept = without_false_labels(takes, dataset="made_up", repeated="drop")
    assert [(t.name, t.label) for t in kept] == [("a", "walk"), ("b", None)]


def test_distinct_files_are_not_changed(takes: list[Take], caplog: pytest.LogCaptureFixture) -> None:
    assert without_false_labels(takes[:2], dataset="made_up", repeated="drop") == takes[:2]
    assert not caplog.messages
