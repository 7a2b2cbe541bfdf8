"""Table of interpolated weights between linear probe and fine-tuned network (WiSE-FT): source and target by alpha."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.document import Table
from eval.report.words import unique

Row = tuple[Sequence[str], Sequence[Sequence[float | None]], Sequence[float]]
"""Names of a row, its curve of (alpha, source, target), and the chosen alphas."""


def alpha_tables(lines: Sequence[Row], *, names: Sequence[str], title: str) -> list[Table]:
    """Source against target at every alpha, one table per grid of alphas.

    Args:
        lines: the rows; a source value is None without validation subjects.
        names: titles of the columns of names.
        title: description of the values.
    """
    out = []
    for grid in unique(tuple(alpha for alpha, *_ in curve) for _, curve, _ in lines):
        rows = []
        for own, curve, chosen in lines:
            if tuple(alpha for alpha, *_ in curve) == grid:
                cells = ["" if source is None else f"{source:.3f} / " for _, source, _ in curve]
                cells = [cell + f"{target:.3f}" for cell, (_, _, target) in zip(cells, curve, strict=True)]
                rows.append([*own, *cells, f"{sum(chosen) / len(chosen):.2f}" if chosen else ""])
        columns = [*names, *(f"{alpha:g}" for alpha in grid), "chosen (mean)"]
        caption = f"{title} by alpha, 0 = linear probe, 1 = fine-tuned"
        out.append(Table(columns=columns, rows=rows, labels=len(names), caption=caption))
    return out
