"""The browsing page as one HTML file without a single outside reference; its script and style lie beside this file."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from pathlib import Path

from imu_video.browse.collect import choose, collect
from imu_video.runtime.files import write_atomic
from imu_video.shards.schema import Index
from imu_video.types import JsonDict

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; media-src data: blob:"
)


def write_page(
    index: Index,
    out: str | Path,
    *,
    most: int = 200,
    megabytes: float = 64.0,
    split: str | None = None,
    seed: int = 0,
) -> int:
    """Write a page on which a person browses samples of a data folder.

    Args:
        index: a loaded index.
        out: HTML file to write; its folder is made where it does not exist.
        most: samples at most, taken in turn from every split, label, person and quality flag.
        megabytes: of clips at most; 64 opens at once in any browser.
        split: only this split.
        seed: which samples.

    Returns:
        How many samples the page shows.

    Example:
        >>> from imu_video.shards import load_index
        >>> write_page(load_index("data/demo"), "demo.html", most=5)
        5
    """
    index.split(split or next(iter(index.splits)))
    data = collect(index, choose(index, most=most, split=split, seed=seed), clip_bytes=int(megabytes * 1e6))
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, render(data))
    return len(data["samples"])


def render(data: JsonDict) -> str:
    """The page of what `collect` gave. A policy in its head lets a browser fetch nothing, whatever the data says."""
    here = files(__package__)
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    # Inside a script element only "<" could end it; nothing of the data is ever parsed as HTML.
    embedded = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(str(data['title']))}: samples</title><style>{style}</style></head>"
        f'<body><script type="application/json" id="data">{embedded}</script><script>{script}</script></body></html>\n'
    )
