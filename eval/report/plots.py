"""Figures of the report as SVG or PNG bytes; matplotlib is imported here only, and only when a plot is made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eval.results.store import Result
from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS: Mapping[str, tuple[str, str]] = {
    "pretrained": ("#1f5fa8", "o"),
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
    """A figure with so many panels, so many of them side by side, and its (rows, wide) axes; the rest is hidden.

    Args:
        figure_class: from `pyplot`.
        panels: how many.
        wide: in a row.
        size: of a panel, inches.
        sharex: whether all have one horizontal scale; the vertical one they always share.
    """
    high = -(-panels // wide)
    figure = figure_class(figsize=(size[0] * wide, size[1] * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False, sharex=sharex, sharey=True)
    for axis in axes.ravel()[panels:]:
        axis.set_visible(False)
    return figure, axes


def common_legend(figure: Figure, axes: Any, *, columns: int) -> None:
    """One legend below all panels, each label once."""
    handles: dict[str, Any] = {}
    for axis in axes.ravel():
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(columns, len(handles)))


def curves(results: Sequence[Result], *, metric: str) -> bytes:
    """Few-shot curves: one panel a domain, figure by shots, a line a model and probe, bands for intervals (SVG)."""
    figure_class, style = pyplot()
    rows = [r for r in results if r.kind == "fewshot" and r.metric == metric]
    domains = list(dict.fromkeys(r.domain for r in rows))
    probes = list(dict.fromkeys(r.probe for r in rows if r.model != "supervised"))
    shots = sorted({int(r.shots or 0) for r in rows})
    with style:
        wide = min(3, len(domains))
        size = (4.6 if wide == 1 else 3.3, 2.9)
        figure, axes = grid(figure_class, len(domains), wide=wide, size=size, sharex=False)
        for axis, domain in zip(axes.ravel(), domains, strict=False):
            own = [r for r in rows if r.domain == domain]
            lines = list(dict.fromkeys((r.model, r.probe) for r in own))
            for n, (model, probe) in enumerate(lines):
                line = sorted((r for r in own if (r.model, r.probe) == (model, probe)), key=lambda r: r.shots or 0)
                colour, marker = MODELS.get(model, ("#7b3fa0", "*"))
                aside = 0.05 * (n - (len(lines) - 1) / 2) if len(shots) == 1 else 0.0
                place = [shots.index(int(r.shots or 0)) + aside for r in line]
                value = np.array([r.value for r in line])
                low = np.array([r.value if r.low is None else r.low for r in line])
                high_end = np.array([r.value if r.high is None else r.high for r in line])
                if len(line) > 1:
                    axis.fill_between(place, low, high_end, color=colour, alpha=0.1, linewidth=0)
                axis.errorbar(
                    place,
                    value,
                    yerr=None if len(line) > 1 else np.maximum([value - low, high_end - value], 0),
                    color=colour,
                    marker=marker,
                    markersize=4.5,
                    linestyle=LINES[probes.index(probe) % len(LINES)] if probe in probes else ":",
                    linewidth=1.5,
                    elinewidth=0.9,
                    label=f"{model}, {probe}",
                )
            chance = next((r.chance for r in own if r.chance is not None), None)
            if chance is not None:
                axis.axhline(chance, color="#b0b7bf", linewidth=1, linestyle=(0, (2, 3)))
                axis.annotate(
                    "chance", (len(shots) - 1, chance), fontsize=7.5, color="#8b939c", va="bottom", ha="right"
                )
            axis.set_title(f"{domain} ({own[0].setting})")
            axis.set_xticks(range(len(shots)), [str(s) for s in shots])
            axis.set_xlabel("labelled windows a class")
        for axis in axes[:, 0]:
            axis.set_ylabel(words(metric))
        common_legend(figure, axes, columns=4)
        return encoded(figure, "svg")


def forest(results: Sequence[Result], *, metric: str, kind: str = "fewshot-difference") -> bytes:
    """Paired differences with intervals: one panel a reference, one line a domain, shot count and probe (SVG).

    Args:
        results: lines; those of another kind or metric are passed over.
        metric: the figure.
        kind: of the differences; those of ``ood`` have one line a model.
    """
    figure_class, style = pyplot()
    rows = [r for r in results if r.kind == kind and r.metric == metric]
    references = list(dict.fromkeys(str(r.reference) for r in rows))
    lines = list(dict.fromkeys(_comparison(r) for r in rows))
    with style:
        figure = figure_class(figsize=(2.4 + 2.6 * len(references), 1.2 + 0.24 * len(lines)), layout="constrained")
        axes = figure.subplots(1, len(references), squeeze=False, sharey=True)[0]
        for axis, reference in zip(axes, references, strict=True):
            for r in rows:
                if r.reference != reference:
                    continue
                y = lines.index(_comparison(r))
                colour = "#8b939c" if not r.excludes_zero else ("#1b7a3d" if r.value > 0 else "#b3361f")
                if r.low is not None and r.high is not None:
                    axis.plot([r.low, r.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
                axis.plot([r.value], [y], marker="o", color=colour, markersize=4.5)
            axis.axvline(0, color="#1d2430", linewidth=0.9)
            axis.set_title(f"minus {reference}")
            axis.set_xlabel(f"difference in {words(metric)}")
            axis.locator_params(axis="x", nbins=5)
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks(range(len(lines)), lines)
        axes[0].set_ylim(len(lines) - 0.4, -0.6)
        return encoded(figure, "svg")


def _comparison(r: Result) -> str:
    if r.kind == "ood-difference":
        return r.model
    return f"{r.domain} · {r.shots} shot{'s' if r.shots != 1 else ''} · {r.probe}"


def confusion(counts: np.ndarray, classes: Sequence[str], *, title: str) -> bytes:
    """A confusion matrix, each row as shares of the true class (SVG)."""
    figure_class, style = pyplot()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short(name) for name in classes]
    size, margin = 0.36 * max(len(classes), 4), 0.9 + 0.07 * max(map(len, names))
    with style:
        figure = figure_class(figsize=(size + margin, size + margin), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(classes)), names)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        figure.suptitle(short(title, 60), fontsize=10, fontweight="bold")
        axis.grid(visible=False)
        if len(classes) > 16:
            figure.colorbar(image, ax=axis, shrink=0.7, label="share of the true class")
        else:
            for i, j in np.argwhere(share >= 0.005):
                colour = "white" if share[i, j] > 0.55 else "#1d2430"
                axis.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        return encoded(figure, "svg")


def training(log: Sequence[Mapping[str, Any]]) -> bytes:
    """Training and validation loss against steps, and validation retrieval where it was logged (SVG)."""
    figure_class, style = pyplot()
    train = _series(log, "train", "loss")
    checks = {"validation": _series(log, "validate", "loss")}
    retrieval = {
        "IMU to video R@1": _series(log, "validate", "imu_to_video/R@1"),
        "IMU to video R@5": _series(log, "validate", "imu_to_video/R@5"),
        "MRR (both ways)": _series(log, "validate", "mrr"),
    }
    retrieval = {name: s for name, s in retrieval.items() if s[0]}
    with style:
        figure = figure_class(figsize=(8.6 if retrieval else 5.0, 2.9), layout="constrained")
        axes = figure.subplots(1, 2 if retrieval else 1, squeeze=False)[0]
        axes[0].plot(*train, color="#1f5fa8", linewidth=1.1, label="training")
        for name, series in checks.items():
            if series[0]:
                axes[0].plot(*series, color="#d07a00", marker="o", markersize=3.5, linewidth=1.3, label=name)
        axes[0].set_title("loss")
        axes[0].set_xlabel("step")
        axes[0].legend()
        if retrieval:
            for (name, series), line in zip(retrieval.items(), LINES, strict=False):
                axes[1].plot(*series, marker="o", markersize=3.5, linewidth=1.3, linestyle=line, label=name)
            axes[1].set_title("validation retrieval")
            axes[1].set_xlabel("step")
            axes[1].set_ylim(0, None)
            axes[1].legend()
        return encoded(figure, "svg")


def _series(log: Sequence[Mapping[str, Any]], kind: str, name: str) -> tuple[list[int], list[float]]:
    rows = {
        int(entry["step"]): float(entry[name])
        for entry in log
        if entry.get("kind") == kind and isinstance(entry.get(name), int | float)
    }
    return sorted(rows), [rows[step] for step in sorted(rows)]


def scatter(points: np.ndarray, groups: Mapping[str, np.ndarray]) -> bytes:
    """The same map of (N, 2) points, coloured by one grouping a panel (PNG)."""
    figure_class, style = pyplot()
    import matplotlib

    with style:
        figure = figure_class(figsize=(4.2 * len(groups), 4.4), layout="constrained")
        for axis, (name, group) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
            values = np.unique(group)
            palette = matplotlib.colormaps["tab20" if len(values) > 10 else "tab10"]
            for n, value in enumerate(values):
                own = points[group == value]
                axis.scatter(own[:, 0], own[:, 1], s=9, color=palette(n % palette.N), label=short(value), linewidths=0)
            axis.set_title(f"by {name}")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            axis.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, fontsize=7, markerscale=1.6, handletextpad=0.1
            )
        return encoded(figure, "png")


def pairs(samples: Sequence[Mapping[str, Any]]) -> bytes:
    """Sample pairs: frames (or skeletons) of a window beside its acceleration (PNG).

    Args:
        samples: mappings with ``title``, ``frames`` (n, H, W, 3) uint8 or ``joints`` (n, J, 3), ``acc`` (3, T),
            ``rate_hz`` and ``placement``.
    """
    figure_class, style = pyplot()
    with style:
        figure = figure_class(figsize=(9.4, 1.5 * len(samples)), layout="constrained")
        most = max(len(s.get("frames", s.get("joints", ()))) for s in samples)
        grid = figure.add_gridspec(len(samples), most + 1, width_ratios=[1.0] * most + [most * 0.75])
        for row, sample in enumerate(samples):
            shown = sample.get("frames", sample.get("joints", ()))
            for column, picture in enumerate(shown):
                axis = figure.add_subplot(grid[row, column])
                _picture(axis, picture)
                if column == 0:
                    axis.set_title(short(sample["title"], 40), fontsize=8, loc="left", fontweight="normal")
            axis = figure.add_subplot(grid[row, most])
            acc = np.asarray(sample["acc"])
            seconds = np.arange(acc.shape[1]) / sample["rate_hz"]
            for values, name, colour in zip(acc, "xyz", ("#1f5fa8", "#d07a00", "#2e8540"), strict=True):
                axis.plot(seconds, values, linewidth=0.9, color=colour, label=name)
            axis.set_ylabel("m/s²", fontsize=7.5)
            axis.tick_params(labelsize=7)
            axis.set_title(f"acceleration, {sample['placement']}", fontsize=8, loc="left", fontweight="normal")
            if row == 0:
                axis.legend(fontsize=7, ncols=3, loc="upper right")
        return encoded(figure, "png")


def _picture(axis: Axes, picture: np.ndarray) -> None:
    if picture.dtype == np.uint8:
        axis.imshow(picture)
    else:
        up = int(np.argmax(np.ptp(picture, axis=0)))
        across = next(i for i in range(3) if i != up)
        axis.scatter(picture[:, across], picture[:, up], s=5, color="#1f5fa8")
        axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def short(name: object, most: int = 24) -> str:
    """A name that fits into a figure.

    Example:
        >>> short("walking upstairs with a box", 12)
        'walking ups…'
    """
    text = " ".join(str(name).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def words(metric: str) -> str:
    """A metric's name as written in text.

    Example:
        >>> words("macro_f1")
        'macro-F1'
    """
    known = {"macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy", "ece": "calibration error"}
    return known.get(metric, metric)
