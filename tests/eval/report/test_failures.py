"""Failure cases are the most certainly wrong answers of one seeded episode, and leaks are named instead of shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.data.splits import Domain
from eval.data.windows import LabelledWindows, load_windows
from eval.report.document import Cards, Text
from eval.report.failures import failures_section, worst_windows
from imu_video.bundle.encoder import load_encoder
from imu_video.errors import ConfigError, LeakageError
from imu_video.shards.reading.index import load_index


@pytest.fixture
def asked(made: Any) -> tuple[Any, LabelledWindows]:
    return load_encoder(made.encoder), load_windows(load_index(made.data), splits=["test"])


def test_the_most_certain_mistakes_come_first_and_are_spread(asked: tuple[Any, LabelledWindows]) -> None:
    bundle, windows = asked
    found, how = worst_windows(bundle, windows, Domain(name="people"), most=6)
    again, _ = worst_windows(bundle, windows, Domain(name="people"), most=6)
    assert found == again
    assert len(found) == 6
    assert "seed 0, 5 shots" in how
    assert [f.of_truth for f in found] == sorted(f.of_truth for f in found)
    for f in found:
        assert f.truth == windows.classes[windows.labels[f.row]]
        assert f.predicted != f.truth
        assert f.confidence > f.of_truth
    pairs = [(f.truth, f.predicted) for f in found]
    assert max(pairs.count(p) for p in pairs) <= 2
    people = [(*p, str(windows.subject[f.row])) for p, f in zip(pairs, found, strict=True)]
    assert len(set(people)) == len(people)
    other, _ = worst_windows(bundle, windows, Domain(name="people"), most=6, seed=1)
    assert other != found


def test_an_encoder_that_tells_all_apart_has_no_failures(make: Callable[..., LabelledWindows], asked: Any) -> None:
    windows = make(windows=3)

    class Perfect:
        lineage: dict[str, Any] = {}

        def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
            known = {row.tobytes(): label for row, label in zip(windows.x, windows.labels, strict=True)}
            return np.eye(4, dtype=np.float32)[[known[row.tobytes()] for row in x]]

    found, how = worst_windows(Perfect(), windows, Domain(name="people"))  # type: ignore[arg-type]
    assert found == []
    assert "0 are misclassified" in how


def test_the_section_shows_the_window_that_was_asked(made: Any) -> None:
    section = failures_section(made.encoder, made.data, most=3)
    [cards] = [b for b in section.blocks if isinstance(b, Cards)]
    assert len(cards.items) == 3
    for card in cards.items:
        facts = dict(card.facts)
        assert facts["sample"].startswith(f"test/made-{facts['subject']}-")
        assert facts["recording"].startswith(f"{facts['subject']}_")
        assert facts["placement"] in ("ankle", "wrist")


def test_people_of_the_pretraining_are_named_and_not_shown(made: Any, tmp_path: Path, asked: Any) -> None:
    bundle, windows = asked
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["p3"]}}, "config": {"data.val_split": None}}
    bundle.save(tmp_path / "seen", lineage=lineage)
    with pytest.raises(LeakageError, match="p3"):
        worst_windows(load_encoder(tmp_path / "seen"), windows, Domain(name="people"))
    [text] = failures_section(tmp_path / "seen", made.data).blocks
    assert isinstance(text, Text)
    assert text.text.startswith("No failure cases:")
    assert "p3" in text.text


def test_too_little_data_is_said(asked: tuple[Any, LabelledWindows]) -> None:
    bundle, windows = asked
    one = windows.take(np.flatnonzero(windows.subject == "p0"))
    with pytest.raises(ConfigError, match="need different subjects"):
        worst_windows(bundle, one, Domain(name="people"))
