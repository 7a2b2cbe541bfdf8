"""Marks of a declaration are found wherever they stand, and named with their line and comment."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.datasets.folder.unfilled import require_filled, unfilled
from imu_video.errors import ConfigError


def test_marks_in_keys_values_and_lists() -> None:
    text = "licence: TODO\nplacements:\n  TODO_watch: {units: {acc: TODO}}\nlabels: [a, TODO]\nurl: 'TODO: ask Anna'\n"
    assert unfilled(text) == [
        (1, "licence"),
        (3, "placements.TODO_watch"),
        (3, "placements.TODO_watch.units.acc"),
        (4, "labels[1]"),
    ]
    assert unfilled("a: [") == [], "reading the declaration gives the error"


def test_the_comment_of_the_line_is_the_hint(tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text("dataset: a\nlicence: TODO  # the terms\n")
    with pytest.raises(ConfigError, match=r"dataset\.yaml, line 2: licence is not filled in yet \(TODO\)") as error:
        require_filled(path)
    assert error.value.hint == "replace TODO in line 2: the terms"
    path.write_text("dataset: TODOS\nlicence: CC0\n")
    require_filled(path)
