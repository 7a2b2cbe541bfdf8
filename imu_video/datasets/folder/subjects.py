"""The table of subjects of a folder: tags such as age, sex and group, by subject; no recordings."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from imu_video.datasets.folder.declaration import SubjectTable
from imu_video.datasets.folder.patterns import composed
from imu_video.errors import RecordingError, nearest, report
from imu_video.readers.tables import Table


def read_subjects(
    root: Path, form: SubjectTable, subjects: Collection[str]
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Subject -> tags, from the table of a declaration, where an empty field gives no tag; and a note on other rows.

    Args:
        root: folder of the declaration.
        form: path and columns of the table.
        subjects: those of the recordings; each needs a row.

    Raises:
        RecordingError: a subject without a row, or with two.
    """
    path = root / form.file
    columns = form.columns
    wanted = [form.subject, *columns.values()]
    table = Table(path, wanted, texts=wanted, delimiter=form.delimiter, encoding=form.encoding, decimal=form.decimal)
    names = [composed(text) for text in table.texts(form.subject)]
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in rows:
            report(
                RecordingError(
                    f"{table.where(row)}: subject {name!r} has a second row, expected one per subject",
                    hint=f"remove one of the two; the first is {table.where(rows[name])}",
                )
            )
        rows.setdefault(name, row)
    missing = sorted(set(subjects) - set(rows))
    if missing:
        report(
            RecordingError(
                f"{path}: no row of subject {missing[0]!r}{nearest(missing[0], rows)}"
                + (f", and of {len(missing) - 1} more" if missing[1:] else ""),
                hint="add a row for each subject, named as in the recordings; empty fields give no tag",
            )
        )
    values = {tag: table.texts(column) for tag, column in columns.items()}
    others = sorted(set(rows) - set(subjects))
    note = f"{form.file} has rows of subjects without a recording ({len(others)}): {', '.join(map(repr, others[:5]))}"
    tags = {
        subject: {tag: texts[rows[subject]] for tag, texts in values.items() if texts[rows[subject]]}
        for subject in sorted(subjects)
        if subject in rows
    }
    return tags, (note + (" ..." if others[5:] else ""),) if others else ()
