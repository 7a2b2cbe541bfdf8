"""Strings in arrays are the strings that were packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.shards.reading.texts import Coded, Mappings, Texts, by_appearance, pack


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=30), st.integers(-30, 30))
def test_texts_are_the_strings_that_were_packed(strings: list[str], at: int) -> None:
    texts = Texts(*pack(strings))
    assert texts == strings
    assert strings == texts
    assert list(texts) == strings
    assert texts[at:] == strings[at:]
    if -len(strings) <= at < len(strings):
        assert texts[at] == strings[at]
    else:
        with pytest.raises(IndexError):
            texts[at]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["walk", "sit", "stand", None]), min_size=1, max_size=30))
def test_codes_in_order_of_appearance(labels: list[str | None]) -> None:
    values = ["sit", "stand", "unused", "walk"]
    codes, used = by_appearance(np.array([-1 if one is None else values.index(one) for one in labels]), values)
    coded = Coded(codes, [*used, None])
    assert coded == labels
    assert coded[::2] == labels[::2]
    assert used == list(dict.fromkeys(one for one in labels if one is not None))


def test_mappings_are_copies() -> None:
    tags = Mappings(np.array([0, 0, 1], np.int32), [{"a": "1"}, {}])
    tags[0]["a"] = "changed"
    assert tags == [{"a": "1"}, {"a": "1"}, {}]
    assert tags[1:] == [{"a": "1"}, {}]
    assert tags[np.int64(1)] == {"a": "1"}


def test_numbers_without_values_and_ends_without_bytes() -> None:
    with pytest.raises(ValueError, match="numbers of values"):
        Coded(np.array([2], np.int32), ["a", "b"])
    for ends in ([3], [1, 0]):
        with pytest.raises(ValueError, match="ends of strings"):
            Texts(np.zeros(2, np.uint8), np.array(ends))
