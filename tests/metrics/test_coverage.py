"""The table of simulated coverages: its kinds, its sizes and the remarks that results get from it."""

from __future__ import annotations

from typing import Any

import pytest

from imu_video.metrics import coverage

STUDY: dict[str, Any] = {"seeds": 1, "pretraining": 1, "folds": 0, "fraction": None, "supports": False}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "differences"),
        ({"fraction": 0.5}, "fractions"),
        ({"fraction": 0.93}, "near the ceiling"),
        ({"fraction": 0.05}, "near the ceiling"),
        ({"seeds": 3, "pretraining": 3}, "seeds and pretraining seeds"),
        ({"supports": True, "fraction": 0.5}, "few-shot"),
        ({"supports": True, "fraction": 0.95}, "few-shot, near the ceiling"),
        ({"folds": 3, "fraction": 0.95}, "folds"),
    ],
)
def test_every_design_has_a_kind(changed: dict[str, Any], kind: str) -> None:
    assert coverage.kind_of(**{**STUDY, **changed}) == kind


def test_a_size_outside_the_range_is_remarked_and_sizes_between_are_rounded_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = {"differences": {"8/2": (0.91, 0.96)}, "folds": {"8/3": (0.96, 0.981)}}
    made = {"studies": 1, "seed": 0, "subjects": [4, 8], "seeds": [1, 2], "folds": [3], "cells": cells}
    monkeypatch.setattr(coverage, "table", lambda: made)
    remark = "95 % intervals of simulated studies of this size (differences) cover 91.0 to 96.0 %: unreliable"
    assert list(coverage.remarks(subjects=8, **{**STUDY, "seeds": 2})) == [remark]
    assert list(coverage.remarks(subjects=30, **{**STUDY, "pretraining": 9})) == [remark]
    assert list(coverage.remarks(subjects=7, **{**STUDY, "seeds": 2})) == []
    [folds] = coverage.remarks(subjects=9, **{**STUDY, "folds": 4})
    assert folds.endswith("(folds) cover 96.0 to 98.1 %: conservative")


def test_the_table_of_the_package_lists_sizes_outside_the_range_only() -> None:
    held = coverage.table()
    assert held["studies"] >= 2000
    for kind, sizes in held["cells"].items():
        for size, (low, high) in sizes.items():
            subjects, levels = map(int, size.split("/"))
            assert subjects in held["subjects"]
            assert levels in held["folds" if kind == "folds" else "seeds"]
            assert low < coverage.LOW or high > coverage.HIGH
