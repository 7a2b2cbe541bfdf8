"""Formats of values, differences, metrics and models that all sections share; defines no section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from eval.report.document import Cell, Figure
from eval.results.lines import Result

ORDER = ("pretrained", "network", "statistics", "untrained", "handcrafted", "supervised", "teacher")
MINIMUM = "minimum detectable difference"
"""Column of the smallest difference that a comparison finds with 80 % power, after correction."""
ONE_PRETRAINING_SEED = "one pretraining seed: variation over pretraining seeds is not included"
"""Said once for all results of a single encoder."""
CORRECTED = "Holm-corrected p below 0.05"
"""What a mark at a difference states."""
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
    """``0.812 [0.771, 0.850]``, with a dagger where `remarks` has reasons to distrust the interval."""
    ends = f" [{r.low:.3f}, {r.high:.3f}]" if r.low is not None and r.high is not None else ""
    return f"{r.value:.3f}{ends}{_dagger(r)}"


def signed(r: Result) -> str:
    """``+0.112 [+0.071, +0.150]``, with a dagger as in `figure`."""
    ends = f" [{r.low:+.3f}, {r.high:+.3f}]" if r.low is not None and r.high is not None else ""
    return f"{r.value:+.3f}{ends}{_dagger(r)}"


def starred(r: Result) -> str:
    """A difference in plain text, with a star where it is decided (see `Result.decided`)."""
    return signed(r) + (" *" if r.decided else "")


def difference(r: Result) -> Cell:
    """A difference, marked where it is decided (see `Result.decided`)."""
    return Cell(signed(r), ("up" if r.value > 0 else "down") if r.decided else "")


def remarks(results: Iterable[Result]) -> list[str]:
    """Reasons for which intervals of these results may not have their nominal coverage, most frequent first."""
    found = Counter(reason for r in results for reason in _remarks(r))
    return [reason for reason, _ in found.most_common()]


def footnote(results: Iterable[Result]) -> str:
    """What the daggers of a table mean; empty without any."""
    found = remarks(results)
    return f" † {'; '.join(found)}." if found else ""


def _remarks(r: Result) -> list[str]:
    facts = r.details.get("inference")
    found = facts.get("remarks", []) if isinstance(facts, dict) else []
    return [str(reason) for reason in found] if isinstance(found, list) else []


def _dagger(r: Result) -> str:
    return "†" if _remarks(r) else ""


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
