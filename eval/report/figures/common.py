"""Parts that all figures share: style, colours, grids, legends, encoding; no figure is drawn here."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS: Mapping[str, tuple[str, str]] = {
    "pretrained": ("#1f5fa8", "o"),
    "network": ("#0e8a8a", "v"),
    "statistics": ("#a8557a", "P"),
    "untrained": ("#8b939c", "s"),
    "handcrafted": ("#d07a00", "^"),
    "supervised": ("#2e8540", "D"),
}
"""Colour and marker of each model; others take purple stars."""
INK = "#1d2430"
OTHER = ("#7b3fa0", "#1f5fa8", "#d07a00", "#2e8540", "#b3361f", "#5b6675", "#0e8a8a", "#a8557a")
LINES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "text.parse_math": False,  # a class may be called "$x"
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa3ad",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "imu-video",
    "figure.dpi": 120,
}


def pyplot() -> tuple[type[Figure], AbstractContextManager[Any]]:
    """matplotlib's Figure class (no global state, no window) and the style of all figures.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib, which is not installed", hint="pip install 'imu-video[report]'"
        ) from error
    return Figure, matplotlib.rc_context(_STYLE)


def encoded(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """A figure's file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, bbox_inches="tight", metadata=metadata)
    return buffer.getvalue()


def grid(
    figure_class: type[Figure], panels: int, *, wide: int, size: tuple[float, float], sharex: bool = True
) -> tuple[Figure, Any]:
    """A figure and its (rows, wide) axes; axes beyond the number of panels are hidden.

    Args:
        figure_class: from `pyplot`.
        panels: number of panels.
        wide: panels per row.
        size: width and height of a panel, inches.
        sharex: whether all panels share the horizontal scale; they always share the vertical one.
    """
    high = -(-panels // wide)
    figure = figure_class(figsize=(size[0] * wide, size[1] * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False, sharex=sharex, sharey=True)
    for axis in axes.ravel()[panels:]:
        axis.set_visible(False)
    return figure, axes


def common_legend(figure: Figure, axes: Any, *, columns: int) -> None:
    """One legend below all panels, with each label once."""
    handles: dict[str, Any] = {}
    for axis in axes.ravel():
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(columns, len(handles)))


def look(name: str, names: Sequence[str]) -> tuple[str, str]:
    """Colour and marker: of a known model, else by its position among the other names."""
    if name in MODELS:
        return MODELS[name]
    others = [n for n in names if n not in MODELS]
    return OTHER[others.index(name) % len(OTHER)], "o*s^Dv"[others.index(name) % 6]


def short(name: object, most: int = 24) -> str:
    """A name shortened to fit into a figure.

    Example:
        >>> short("walking upstairs with a box", 12)
        'walking ups…'
    """
    text = " ".join(str(name).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
