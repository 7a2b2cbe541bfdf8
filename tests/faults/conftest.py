"""Counts of the tests of faults: what each case tried and how often the outcome was right; a table at the end.

A case is counted with the fixture ``score``:

    def test_lost_pointers(score: Score) -> None:
        with score("lost pointer: the newest complete checkpoint is found") as case:
            for seed in range(100):
                case.add(outcome_is_right(seed), f"seed {seed}")

It fails at the end of the block if any outcome was wrong, with the first ones in words. `make test-faults` prints the
table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

PROPERTY = "faults"
SHOWN = 5


@dataclass
class Case:
    """One row of the table: name, number of outcomes, number of right ones."""

    name: str
    tried: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, right: bool, what: str = "") -> None:
        """Count one outcome; ``what`` describes it in case it is wrong."""
        self.tried += 1
        self.right += bool(right)
        if not right and len(self.wrong) < SHOWN:
            self.wrong.append(what)


Score = Callable[[str], AbstractContextManager[Case]]


@pytest.fixture
def score(record_property: Callable[[str, Any], None]) -> Score:
    """A function from the name of a case to a context manager with its `Case`."""

    @contextmanager
    def count(name: str) -> Iterator[Case]:
        case = Case(name)
        try:
            yield case
        finally:
            record_property(PROPERTY, (case.name, case.tried, case.right))
        assert case.tried, f"{name}: nothing was tried"
        assert case.right == case.tried, f"{name}: {case.right} of {case.tried} right; " + "; ".join(case.wrong)

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of all cases, also of those that ran in other processes."""
    rows: list[tuple[str, int, int]] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                rows += [tuple(value) for name, value in report.user_properties if name == PROPERTY]
    if rows:
        terminalreporter.section("faults: tried / right")
        width = max(len(name) for name, _, _ in rows)
        for name, tried, right in sorted(rows):
            terminalreporter.write_line(f"{name:<{width}}  {tried:>9,} / {right:>9,}" + (" WRONG" * (right < tried)))
        tried, right = sum(row[1] for row in rows), sum(row[2] for row in rows)
        terminalreporter.write_line(f"{'all':<{width}}  {tried:>9,} / {right:>9,}")
