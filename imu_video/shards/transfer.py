"""One remote file to the local disk, bounded in bytes and in time; addresses, retries and the cache are in remote.py.

A server is not trusted: it may send without an end, a byte per second, compressed zeros, or another server's address.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from fsspec import filesystem
from fsspec.callbacks import Callback

CHUNK = 2**20


class Oversized(Exception):
    """The server sends more than the file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes received")


class TooSlow(Exception):
    """Less than the minimum rate arrived for a whole window of time."""


class RedirectRefused(Exception):
    """The server named another server, or a connection that is not encrypted.

    Args:
        place: scheme and host that it named, without path, query and credentials.
    """

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def transfer(files: Any, address: str, target: Path, *, limit: int, window_s: float, min_rate: float) -> None:
    """Copy a remote file; the target may be incomplete after an error.

    Args:
        files: fsspec file system.
        address: of the file.
        target: local file, overwritten.
        limit: largest size in bytes.
        window_s: a connection is ended if fewer than ``window_s * min_rate`` bytes arrive in as many seconds.
        min_rate: bytes per second.

    Raises:
        Oversized, TooSlow, RedirectRefused: see these classes.
        Exception: of the storage library.
    """
    progress = _Progress(limit)
    if not getattr(files, "async_impl", False):
        progress.watch = _Watch(progress, window_s, min_rate).check  # this thread is busy: checked as bytes arrive
        files.get_file(address, str(target), callback=progress)
        return
    task = asyncio.run_coroutine_threadsafe(files._get_file(address, str(target), callback=progress), files.loop)
    watch = _Watch(progress, window_s, min_rate)
    try:
        while not concurrent.futures.wait([task], timeout=min(1.0, window_s / 10)).done:
            watch.check()
    except BaseException:
        task.cancel()
        raise
    task.result()


class _Progress(Callback):
    """Counts the bytes that came; raises where they are too many."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.watch: Callable[[], None] = lambda: None

    def relative_update(self, inc: int = 1) -> None:
        # The announced size is compared here and not when it is announced, because error pages have a size as well.
        self.value += inc
        if max(self.value, self.size or 0) > self.limit:
            raise Oversized(self.limit)
        self.watch()


class _Watch:
    """Compares the bytes of each window of time with the least that must arrive in it."""

    def __init__(self, progress: _Progress, window_s: float, min_rate: float) -> None:
        self._progress, self._window_s, self._least = progress, window_s, window_s * min_rate
        self._begun, self._before = time.monotonic(), 0

    def check(self) -> None:
        now, came = time.monotonic(), self._progress.value
        if now - self._begun < self._window_s:
            return
        if came - self._before < self._least:
            raise TooSlow
        self._begun, self._before = now, came


def open_file_system(scheme: str, timeout_s: float, redirects: Collection[str]) -> Any:
    """An fsspec file system that drops a connection that receives no data for ``timeout_s`` seconds.

    Args:
        scheme: of the address.
        timeout_s: seconds.
        redirects: hosts to which a web server may redirect, besides its own.

    Raises:
        ImportError: the package of the scheme is not installed.
    """
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme in ("http", "https"):
        import aiohttp

        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_redirect_check(frozenset(redirects)))
        options["client_kwargs"] = {
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s),
            "trace_configs": [trace],
            # Sizes are those of the files; and a few compressed bytes could become many gigabytes.
            "headers": {"Accept-Encoding": "identity"},
        }
    elif scheme == "s3":
        once = {"max_attempts": 1}
        options["config_kwargs"] = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": once}
    return filesystem(scheme, **options)


def _redirect_check(allowed: frozenset[str]) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def check(session: Any, context: Any, step: Any) -> None:
        from yarl import URL

        here = step.url
        named = step.response.headers.get("Location") or step.response.headers.get("URI") or ""
        try:
            there = here.join(URL(named))
        except ValueError:
            raise RedirectRefused("an address that cannot be read") from None
        known = there.host == here.host or there.host in allowed
        port = there.port == here.port or there.is_default_port() or there.host in allowed
        encrypted = there.scheme == "https" or (there.scheme == "http" and here.scheme == "http")
        if not (known and port and encrypted):
            shown = "" if there.port is None or there.is_default_port() else f":{there.port}"
            raise RedirectRefused(f"{there.scheme}://{there.host or ''}{shown}")

    return check
