"""Predictions of recordings as one HTML page without scripts: traces, coloured intervals, a table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.predict.timeline import Timeline
from imu_video.runtime.text import plain
from imu_video.types import Recording

# Okabe and Ito's palette, which readers with colour-blindness can tell apart; then it repeats.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#5b6675")
UNSURE = "#d5dae0"
_WIDTH, _HEIGHT, _BAND = 1000, 120, 26
_POINTS = 1000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2430;max-width:1040px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
svg{width:100%;height:auto;border:1px solid #dfe4ea;border-radius:4px}
table{border-collapse:collapse;margin:.7rem 0}th,td{padding:.2rem .8rem .2rem 0;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
.legend span{margin-right:1.2em}.note{color:#5b6675}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Predictions of one recording with what the page shows beside them.

    Args:
        timeline: the predictions.
        recording: the recording before the cut, for the traces; None shows none.
        notes: facts about the recording.
    """

    timeline: Timeline
    recording: Recording | None = None
    notes: Sequence[str] = ()


def render(predicted: Sequence[Predicted], classes: Sequence[str], *, title: str, facts: Sequence[str] = ()) -> str:
    """The page as text. Names are shown as text, never as markup.

    Args:
        predicted: recordings in order.
        classes: the M classes of the head.
        title: heading.
        facts: lines below the heading: encoder, head, threshold.
    """
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(classes)}
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>",
        *(f"<p class=note>{_text(fact)}</p>" for fact in facts),
        "<p class=legend>",
        *(f'<span><i class=key style="background:{colours[c]}"></i>{_text(c)}</span>' for c in classes),
        f'<span><i class=key style="background:{UNSURE}"></i>no prediction</span></p>',
    ]
    for one in predicted:
        parts += _section(one, colours)
    return "".join([*parts, "</body></html>\n"])


def _section(one: Predicted, colours: dict[str, str]) -> list[str]:
    line = one.timeline
    begin, end = float(line.start[0]), float(line.start[-1] + line.step_s[-1])
    rows = [
        f'<tr><td><i class=key style="background:{colours.get(i.label or "", UNSURE)}"></i>'
        f"{_text(i.label or 'no prediction')}</td><td class=n>{i.start - begin:.2f}</td>"
        f"<td class=n>{i.end - begin:.2f}</td><td class=n>{i.probability:.2f}</td></tr>"
        for i in line.intervals
    ]
    return [
        f"<h2>{_text(line.recording)}</h2>",
        *(f"<p class=note>{_text(note)}</p>" for note in one.notes),
        _picture(one, begin, end, colours),
        "<table><tr><th>activity</th><th class=n>from (s)</th><th class=n>to (s)</th>"
        f"<th class=n>probability</th></tr>{''.join(rows)}</table>",
    ]


def _picture(one: Predicted, begin: float, end: float, colours: dict[str, str]) -> str:
    scale = _WIDTH / (end - begin)
    bands = [
        f'<rect x="{(i.start - begin) * scale:.2f}" y="0" width="{(i.end - i.start) * scale:.2f}" height="{_BAND}" '
        f'fill="{colours.get(i.label or "", UNSURE)}"><title>{_text(i.label or "no prediction")}, '
        f"{i.probability:.2f}</title></rect>"
        for i in one.timeline.intervals
    ]
    traces, height = [], _BAND
    for stream in one.recording.imu if one.recording is not None else ():
        for kind, unit in (("acc", "m/s²"), ("gyr", "rad/s")):
            rows = [n for n, channel in enumerate(stream.channels) if channel.startswith(kind)]
            if not rows:
                continue
            size = np.sqrt((stream.values[rows] ** 2).sum(axis=0))
            low, high = _envelope(stream.times, size, begin, end)
            known = np.isfinite(low) & np.isfinite(high)
            if not known.any():
                continue
            top = float(high[known].max()) or 1.0
            x = (np.arange(len(low)) + 0.5) * _WIDTH / len(low)
            path = " ".join(
                f"M{a:.1f} {height + _HEIGHT * (1 - u / top):.1f}V{height + _HEIGHT * (1 - v / top) + 0.8:.1f}"
                for a, u, v in zip(x[known], high[known], low[known], strict=True)
            )
            traces.append(f'<path d="{path}" stroke="#1d2430" stroke-width="1" fill="none"/>')
            caption = f"{stream.placement}: |{kind}|, 0 to {top:.3g} {unit}"
            traces.append(f'<text x="6" y="{height + 14}" font-size="12" fill="#5b6675">{_text(caption)}</text>')
            height += _HEIGHT
    label = f"predicted activities of {one.timeline.recording} over {end - begin:.1f} s"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{_text(label)}">{"".join(bands + traces)}</svg>'
    )


def _envelope(times: np.ndarray, values: np.ndarray, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value in each of equal parts of a time; NaN without one. Shapes: two (`_POINTS`,)."""
    place = np.floor((times - begin) / (end - begin) * _POINTS).astype(np.int64)
    inside = (place >= 0) & (place < _POINTS) & np.isfinite(values)
    low, high = np.full(_POINTS, np.inf), np.full(_POINTS, -np.inf)
    np.minimum.at(low, place[inside], values[inside])
    np.maximum.at(high, place[inside], values[inside])
    return np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def _text(value: str) -> str:
    return html.escape(plain(value), quote=True)
