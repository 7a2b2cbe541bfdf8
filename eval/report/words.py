"""How figures, differences and orders are written in every section; no section of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from eval.report.document import Cell, Figure
from eval.results.store import Result

ORDER = ("pretrained", "untrained", "handcrafted", "supervised", "teacher")
T = TypeVar("T")


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


def fact(r: Result, name: str) -> str:
    """A number of a result's details; nothing where an older line lacks it."""
    value = r.details.get(name)
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def rank(model: str) -> int:
    """Place of a model in tables."""
    return ORDER.index(model) if model in ORDER else len(ORDER)


def unique(items: Iterable[T]) -> list[T]:
    """Each item once, in order of first occurrence."""
    return list(dict.fromkeys(items))
