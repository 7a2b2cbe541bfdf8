"""The browsing pages as self-contained HTML files; their scripts and styles are page.* and timeline.*."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from imu_video.browse.collect import choose, collect
from imu_video.browse.timeline import collect_recording
from imu_video.runtime.files import write_atomic
from imu_video.runtime.text import plain
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
    """Write an HTML page for browsing samples of a data folder.

    Args:
        index: a loaded index.
        out: HTML file to write; its folder is created if needed.
        most: largest number of samples, chosen round-robin over splits, labels, subjects and quality flags.
        megabytes: largest size of all clips; browsers open pages of 64 MB without delay.
        split: only this split; None = all splits.
        seed: seed of the choice of samples.

    Returns:
        Number of samples on the page.

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


def write_recording_page(index: Index, recording: str, out: str | Path, *, thumbnails: int = 120) -> JsonDict:
    """Write an HTML page with a whole recording on one time line.

    The page shows labels, windows that were kept or dropped, thumbnails and motion of the video, and the traces of all
    devices; a slider moves the video against the traces and shows the offset to declare.

    Args:
        index: a loaded index.
        recording: name of a recording of the folder.
        out: HTML file to write; its folder is created if needed.
        thumbnails: largest number of thumbnails per camera.

    Returns:
        The content of the page, see `timeline.collect_recording`.

    Raises:
        ShardError: no such recording.
    """
    data = collect_recording(index, recording, thumbnails=thumbnails)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _document(data, title=str(data["title"]), name="timeline"))
    return data


def render(data: JsonDict) -> str:
    """Render the content of `collect` as HTML with a content security policy that forbids every request."""
    return _document(data, title=f"{data['title']}: samples", name="page")


def _plain(data: Any) -> Any:
    """The data with names that show on the page as they are: no control, bidi or zero-width characters."""
    if isinstance(data, str):
        return plain(data)
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, list | tuple) else data


def _document(data: JsonDict, *, title: str, name: str) -> str:
    here = files(__package__)
    style, script = ((here / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    # Only "<" could end the script element, so with it escaped the browser never parses the data as HTML.
    embedded = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(plain(title))}</title><style>{style}</style></head>"
        f'<body><script type="application/json" id="data">{embedded}</script><script>{script}</script></body></html>\n'
    )
