"""Places of faults in documents whose values may have one of several forms."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from imu_video.runtime.faults import placed


class Part(BaseModel, extra="forbid"):
    name: str
    size: int | list[int] = 1


class Whole(BaseModel):
    parts: str | tuple[Part, ...]
    other: dict[str, float] = {}


def places(content: Any) -> list[tuple[Any, ...]]:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(content)
    return [fault["loc"] for fault in placed(caught.value.errors(), content)]


def test_the_branch_that_accepts_most_is_kept() -> None:
    assert places({"parts": [{"name": "a"}, {"name": 3}]}) == [("parts", 1, "name")]
    assert places({"parts": [{"name": "a", "nam": "b"}]}) == [("parts", 0, "nam")]
    assert places({"parts": [{}]}) == [("parts", 0, "name")]
    assert places({"parts": [{"name": "a", "size": [1, "x"]}]}) == [("parts", 0, "size", 1)]


def test_branches_that_are_equally_far_are_all_kept() -> None:
    assert places({"parts": 3}) == [("parts",), ("parts",)]
    assert places({"parts": [{"name": "a", "size": "x"}]}) == [("parts", 0, "size"), ("parts", 0, "size")]


def test_places_outside_unions_are_unchanged() -> None:
    assert places({"parts": "x", "other": {"a": 1, "b": "x"}}) == [("other", "b")]
    assert places({"other": {}}) == [("parts",)]
