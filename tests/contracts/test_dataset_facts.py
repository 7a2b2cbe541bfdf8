"""Every registered dataset says what it is, and docs/reference/datasets.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imu_video.cli.listing import WIDTH, dataset_table, facts_of, with_page
from imu_video.errors import ConfigError
from imu_video.registry import datasets

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "datasets.md"


def shipped() -> list[str]:
    """Datasets of this package, without those that tests register."""
    return [name for name in datasets.names() if datasets.get(name).__module__.startswith("imu_video.")]


@pytest.mark.parametrize("name", shipped())
def test_facts_are_told(name: str) -> None:
    fact = facts_of(datasets, name)
    assert fact.summary.endswith("."), "the docstring begins with one sentence on one line"
    assert fact.licence
    assert fact.citation
    assert fact.url
    assert "imu" in fact.streams
    assert set(fact.streams) <= {"imu", "video", "skeleton"}
    assert all(rate > 0 for rate in fact.rate_hz)
    assert len(set(fact.labels)) == len(fact.labels)
    for word in fact.placements:
        assert re.fullmatch("[a-z0-9_]+", word), f"{word!r}: lower case with underscores"


def test_the_table_fits_the_screen() -> None:
    header, rows = dataset_table([facts_of(datasets, name) for name in shipped()])
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    assert sum(widths) + 3 * len(widths) + 1 <= WIDTH, "a drawn table has a bar and two blanks a column"


def test_the_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    facts = [facts_of(datasets, name) for name in shipped()]
    assert text == with_page(text, facts), "run: python -m imu_video.cli.listing docs/reference/datasets.md"
    for name in shipped():
        assert f"`{name}`" in text


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no lines"):
        with_page("# Datasets", [])
