"""The section of limited labels with fixed people."""

from __future__ import annotations

from collections.abc import Sequence

from eval.document import Block, Cell, Section, Table, Text
from eval.labels_results import labels_table
from eval.report.words import unique
from eval.results import Result


def labels_sections(own: Sequence[Result], suffix: str) -> list[Section]:
    """Limited labels with fixed people: figures and paired differences, a table a metric."""
    blocks: list[Block] = []
    for metric in unique(r.metric for r in own):
        for differences in (False, True):
            caption, columns, rows = labels_table(own, metric=metric, differences=differences)
            if rows:
                table: list[list[str | Cell]] = [list(row) for row in rows]
                blocks.append(Table(columns=columns, rows=table, labels=4 if differences else 3, caption=caption))
    note = (
        "The last step of a fixed schedule; in brackets after `chosen` the step that was best on the people of "
        "`choose`, a choice among ten on one or few people. `*`: the interval excludes zero. With few people asked the "
        "intervals are wide, as they should be."
    )
    return [Section(f"Limited labels{suffix}", [*blocks, Text(note)])]
