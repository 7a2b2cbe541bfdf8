"""Patterns of file names: every reading is found, and only those."""

from __future__ import annotations

import itertools

import pytest

from imu_video.datasets.folder.patterns import Template, plain_name


def by_hand(first: str, second: str, text: str) -> list[tuple[str, str]]:
    """Divisions of ``text`` into two words with ``first`` between them and ``second`` behind, tried one by one."""
    cut = range(len(text) + 1)
    return [
        (text[:a], text[b : len(text) - len(second)])
        for a, b in itertools.product(cut, cut)
        if text[:a] and text[a:b] == first and len(text) - len(second) > b and text.endswith(second)
    ]


@pytest.mark.parametrize("text", ["a_b.csv", "a_b_c.csv", "__.csv", "___.csv", "a-b.csv", "_a_.csv", "a__b.csv"])
def test_readings_are_those_found_by_trying_every_division(text: str) -> None:
    found = [(w["subject"], w["recording"]) for w in Template("{subject}_{recording}.csv").readings(text)]
    assert sorted(found) == sorted(by_hand("_", ".csv", text))


def test_words_are_compared_between_places_and_slashes_are_never_part_of_them() -> None:
    assert Template("{subject}/{subject}_{recording}.csv").readings("a_b/a_b_c_d.csv") == [
        {"subject": "a_b", "recording": "c_d"}
    ]
    assert Template("{subject}/{subject}.csv").readings("a/b.csv") == []
    assert Template("{subject}.csv").readings("a/b.csv") == []
    assert Template("data[1]/{subject}.csv").readings("data[1]/a.csv") == [{"subject": "a"}]
    assert Template("{subject}{recording}.csv", {"subject": "s[0-9]+", "recording": "[a-z]+"}).readings(
        "s01up.csv"
    ) == [{"subject": "s01", "recording": "up"}]


def test_long_names_without_a_reading_end_soon() -> None:
    pattern = Template("{subject}_{session}_{recording}_{placement}.csv")
    assert pattern.readings("_" * 200 + ".txt") == []
    assert pattern.readings("_" * 60 + ".csv", ["wrist"]) == []


@pytest.mark.parametrize("word", ["ok-1_A", "ß", "Ålesund", "a b", "..", "走", "​"])
def test_plain_names_are_legal_and_plain_words_stay(word: str) -> None:
    plain = plain_name(word)
    assert plain
    assert all(c.isascii() and (c.isalnum() or c in "-_") for c in plain)
    assert plain == word or word != "ok-1_A"
