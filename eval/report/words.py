"""Formats of values, differences, metrics and models that all sections share; defines no section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from eval.report.document import Cell, Figure
from eval.results.lines import Result

ORDER = ("pretrained", "untrained", "handcrafted", "supervised", "teacher")
MINIMUM = "minimum detectable difference"
"""Column of the smallest difference that a comparison would have detected with 80 % power."""
TESTS = ("p (Holm)", MINIMUM)
"""Columns of a comparison's corrected p value and its minimum detectable difference."""
_METRICS = {"macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy", "ece": "calibration error"}
T = TypeVar("T")


def metric_name(metric: str) -> str:
    """A metric's name as written in text.

    Example:
        >>> metric_name("macro_f1")
        'macro-F1'
    """
    return _METRICS.get(metric, metric)


def svg(data: bytes, alt: str, caption: str = "") -> Figure:
    """A figure of SVG bytes."""
    return Figure(data=data, kind="svg+xml", alt=alt, caption=caption)


def figure(r: Result) -> str:
    """``0.812 [0.771, 0.850]``."""
    return f"{r.value:.3f}" + (f" [{r.low:.3f}, {r.high:.3f}]" if r.low is not None and r.high is not None else "")


def signed(r: Result) -> str:
    """``+0.112 [+0.071, +0.150]``."""
    ends = f" [{r.low:+.3f}, {r.high:+.3f}]" if r.low is not None and r.high is not None else ""
    return f"{r.value:+.3f}{ends}"


def difference(r: Result) -> Cell:
    """A difference, marked where its interval excludes zero."""
    return Cell(signed(r), ("up" if r.value > 0 else "down") if r.excludes_zero else "")


def tests(r: Result) -> list[str]:
    """Cells of the columns `TESTS`; empty where a fact is undefined, as with one subject."""
    values = [r.details.get("p_holm"), r.details.get("minimum_detectable")]
    return [f"{value:.3f}" if isinstance(value, int | float) else "" for value in values]


def plural(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> plural(1, "shot"), plural(5, "shot")
        ('1 shot', '5 shots')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def rank(model: str) -> int:
    """Place of a model in tables."""
    return ORDER.index(model) if model in ORDER else len(ORDER)


def unique(items: Iterable[T]) -> list[T]:
    """Each item once, in order of first occurrence."""
    return list(dict.fromkeys(items))
