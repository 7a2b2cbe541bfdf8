"""Fetches remote files (s3, gs, http, https, hf) into a bounded local cache; does not parse them.

Every file has a largest size, and every connection a least rate (`transfer`). The storage libraries read credentials
from the environment or their config files, never from an address. No message repeats a query string or a library's
error text, because both can contain a signed address.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.documents import JSON_LIMIT
from imu_video.runtime.files import file_sha256, leftover_of, move_file, remove_dead_leftovers, temporary_path

EXTRAS = {"s3": "s3", "gs": "gcs", "http": "http", "https": "http", "hf": "hf"}
"""Address schemes, and the extra of this package that each needs."""
CACHE_VARIABLE, SIZE_VARIABLE, TIMEOUT_VARIABLE = "IMU_VIDEO_CACHE", "IMU_VIDEO_CACHE_GB", "IMU_VIDEO_REMOTE_TIMEOUT"
RATE_VARIABLE, REDIRECTS_VARIABLE = "IMU_VIDEO_REMOTE_MIN_RATE", "IMU_VIDEO_REMOTE_REDIRECTS"
CACHE_GB, TIMEOUT_S, MIN_RATE = 50.0, 60.0, 1000.0
INDEX_LIMIT = 2**30
"""Largest index in bytes; that of a million windows in its oldest form has 148 MB."""
WEIGHTS_LIMIT = 2**31
LIST_LIMIT, LISTED = 4 * 2**20, 1000
"""Largest directory page of a web server in bytes, and largest number of names in it."""
ATTEMPTS = 5
"""Attempts per file before it counts as unreachable, with waits of 0.5, 1, 2 and 4 seconds between them."""
_SLOW_ATTEMPTS = 2
_IN_USE_S = 60.0
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_ROOM = re.compile(r"(?P<name>.+)\.(?P<size>\d+)\.room")
_LINK = re.compile(r"""<a\s[^>]*?href=["']([^"'<>]*)["']""", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/{1,2}|(?=[^/\\]))")


def is_address(place: str | Path) -> bool:
    """Whether a place is a remote address rather than a local path.

    `Path` collapses the double slash of an address; the result still counts as an address.

    Example:
        >>> is_address("s3://bucket/data"), is_address("data/demo"), is_address("C:/data")
        (True, False, False)
    """
    text = str(place)
    match = _SCHEME.match(text)
    return match is not None and (match[1].lower() in EXTRAS or text.startswith((f"{match[1]}://", "pipe:")))


@dataclass(frozen=True)
class Address:
    """A remote folder: scheme, host or bucket with path, and a query that is sent but never shown."""

    scheme: str
    path: str
    query: str = field(default="", repr=False)

    @classmethod
    def parse(cls, place: str | Path) -> Address:
        """Parse an address.

        Raises:
            ConfigError: the scheme is not in EXTRAS (``pipe:`` is not), or the address contains credentials.
        """
        text = str(place)
        scheme = text.split(":", 1)[0].lower()
        if scheme not in EXTRAS:
            raise ConfigError(
                f"unknown scheme {scheme!r} of an address; known: {', '.join(EXTRAS)}",
                hint="commands (`pipe:`) are never run; copy the folder to the disk instead",
            )
        parts = urlsplit(f"{scheme}://{text.split(':', 1)[1].lstrip('/')}")
        if "@" in parts.netloc:
            raise ConfigError(
                f"the {scheme} address contains credentials",
                hint="remove them from the address: the storage libraries read the environment and their config files",
            )
        return cls(scheme, (parts.netloc + parts.path).rstrip("/"), parts.query)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def child(self, name: str) -> str:
        """Full address of a file in the folder, query included; only for the storage library, not for messages."""
        return f"{self}/{name}" + (f"?{self.query}" if self.query else "")

    @property
    def slug(self) -> str:
        """A readable and unique folder name for the address."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.path)[-40:].strip("-")
        return f"{plain}-{hashlib.sha256(str(self).encode()).hexdigest()[:12]}"


class OutOfReach(ShardError):
    """A file was still unreachable, truncated or damaged after all attempts; callers can keep their finished work."""

    unfinished = True


class Cache:
    """A size-bounded folder of fetched files; the least recently used are removed first.

    Several processes can share one cache: a file is fetched once and appears only when it is complete. Files that are
    being fetched count with the size that they will have, and what killed processes left is removed. Files used within
    the last minute are kept, so that a path returned to a caller still exists when the caller opens it.

    Args:
        folder: location of the cache; ``$IMU_VIDEO_CACHE``, or ``~/.cache/imu-video``, when None.
        size: bytes; ``$IMU_VIDEO_CACHE_GB`` (50) when None.
        in_use_s: seconds for which a file is kept after its last use.
    """

    def __init__(self, folder: Path | None = None, size: int | None = None, *, in_use_s: float = _IN_USE_S) -> None:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imu-video"
        self.folder = folder or Path(os.environ.get(CACHE_VARIABLE) or usual)
        self.size = int(1e9 * _number(SIZE_VARIABLE, CACHE_GB)) if size is None else size
        self.in_use_s = in_use_s

    def get(self, target: Path, size: int | None, fetch: Callable[[Path], None]) -> Path:
        """Path of a cached file; a missing file is fetched.

        Args:
            target: its path in the cache.
            size: its size in bytes, if known; a file of a different size is fetched again.
            fetch: writes the checked file to the given path, or raises.

        Raises:
            ConfigError: the file is larger than the whole cache.
        """
        if self._there(target, size):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            # Checked again: another process may have fetched the file while this one waited for the lock.
            if self._there(target, size):
                return target
            with self._room(target, size or 0):
                fetch(target)
        self.make_room(0)
        return target

    @contextmanager
    def _room(self, target: Path, size: int) -> Iterator[None]:
        """Make room for a file and keep it: other processes count the size in the name of an empty file."""
        claim = temporary_path(target.with_name(f"{target.name}.{size}.room"))
        claim.touch(exist_ok=False)
        try:
            self.make_room(0 if size <= self.size else size)
            yield
        finally:
            claim.unlink(missing_ok=True)

    def _there(self, target: Path, size: int | None) -> bool:
        try:
            if size is not None and target.stat().st_size != size:
                return False
            os.utime(target)
        except FileNotFoundError:
            return False
        return True

    def make_room(self, size: int) -> None:
        """Remove the least recently used files until ``size`` more bytes fit.

        Raises:
            ConfigError: ``size`` exceeds the size of the cache.
        """
        if size > self.size:
            raise ConfigError(
                f"a file of {size / 1e9:.3g} GB does not fit a cache of {self.size / 1e9:.3g} GB",
                hint=f"export {SIZE_VARIABLE}=... with a larger number",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".evict.lock"):
            remove_dead_leftovers(self.folder)
            found, unfinished = self._content()
            total = unfinished + sum(bytes_ for _, bytes_, _ in found)
            for used, bytes_, path in sorted(found):
                if total + size <= self.size or used > time.time() - self.in_use_s:
                    return
                with suppress(OSError):  # some systems cannot remove open files; a later call retries
                    path.unlink()
                    total -= bytes_

    def _content(self) -> tuple[list[tuple[float, int, Path]], int]:
        """Last use, size and path of every complete file; and the bytes of those that are being written."""
        found: list[tuple[float, int, Path]] = []
        partial: dict[tuple[str, str], int] = {}
        for root, _, names in os.walk(self.folder):
            above = next((part for part in Path(root).relative_to(self.folder).parts if leftover_of(part)), None)
            for name in names:
                with suppress(OSError):
                    path = Path(root, name)
                    state = path.lstat()
                    size, of = state.st_size, leftover_of(name)
                    if of is not None and (room := _ROOM.fullmatch(of)):
                        size, of = int(room["size"]), room["name"]
                    if above is not None or of is not None:
                        key = (root, of or name)
                        partial[key] = max(size, partial.get(key, 0))
                    elif not name.startswith(".") and stat.S_ISREG(state.st_mode):
                        found.append((state.st_mtime, size, path))
        return found, sum(partial.values())


class RemoteFolder:
    """The files of a remote folder, fetched into a cache.

    Args:
        address: of the folder.
        cache: stores the fetched files.
        attempts: maximum number of attempts per file.
        timeout_s: seconds without a byte after which a connection counts as stalled; ``$IMU_VIDEO_REMOTE_TIMEOUT``
            (60) when None.
        min_rate: bytes per second that must arrive on average in any time of twice ``timeout_s``;
            ``$IMU_VIDEO_REMOTE_MIN_RATE`` (1000) when None.

    Raises:
        ConfigError: the scheme is unknown, or the package for it is not installed.

    Example:
        >>> RemoteFolder(Address.parse("s3://bucket/data")).fetch("index.json", Path("index.json"))  # doctest: +SKIP
    """

    def __init__(
        self,
        address: Address,
        cache: Cache | None = None,
        *,
        attempts: int = ATTEMPTS,
        timeout_s: float | None = None,
        min_rate: float | None = None,
    ) -> None:
        self.address = address
        self.cache = cache or Cache()
        self._attempts = attempts
        self._timeout_s = _number(TIMEOUT_VARIABLE, TIMEOUT_S) if timeout_s is None else timeout_s
        self._min_rate = _number(RATE_VARIABLE, MIN_RATE) if min_rate is None else min_rate
        self._files: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": None}

    @property
    def files(self) -> Any:
        """The fsspec file system, opened again in a forked process, because connections do not survive a fork."""
        if self._files is None or self._files[0] != os.getpid():
            self._files = (os.getpid(), self._open())
        return self._files[1]

    def _open(self) -> Any:
        redirects = {host for host in os.environ.get(REDIRECTS_VARIABLE, "").replace(",", " ").split() if host}
        try:
            from imu_video.shards.transfer import open_file_system

            return open_file_system(self.address.scheme, self._timeout_s, redirects)
        except ImportError:
            raise ConfigError(
                f"addresses of scheme {self.address.scheme!r} need a package that is not installed",
                hint=f"pip install 'imu-video[{EXTRAS[self.address.scheme]}]'",
            ) from None

    def local(self, name: str, root: Path, *, size: int | None = None, sha256: str | None = None) -> Path:
        """Path of a file in the cache; a missing file is fetched and checked first.

        Args:
            name: relative to the address.
            root: cache folder that corresponds to the address.
            size: expected bytes.
            sha256: expected hash.

        Raises:
            ShardError, ConfigError: see `fetch` and `Cache.get`.
        """
        return self.cache.get(root / name, size, lambda target: self.fetch(name, target, size=size, sha256=sha256))

    def fetch(
        self, name: str, target: Path, *, size: int | None = None, sha256: str | None = None, limit: int | None = None
    ) -> None:
        """Fetch a file to a local path; the result is complete and has the expected size and hash.

        Args:
            name: relative to the address.
            target: local path; its folder must exist.
            size: expected bytes.
            sha256: expected hash.
            limit: largest size in bytes of a file whose size is not known; None: according to its kind. No file may be
                larger than the cache.

        Raises:
            ShardError: the file does not exist, access is denied, the server redirects to another one, or all attempts
                failed or gave a damaged file.
        """
        most = size if size is not None else min(_limit(name) if limit is None else limit, self.cache.size)
        self._try(name, target, limit=most, damage=lambda file: _damage(file, size, sha256))

    def _try(
        self, name: str, target: Path, *, limit: int, damage: Callable[[Path], str], attempts: int | None = None
    ) -> None:
        from imu_video.shards.transfer import TooSlow, transfer

        address, attempts, problem, slow, tried = self.address.child(name), attempts or self._attempts, "", 0, 0
        # A server below the minimum rate gets fewer attempts than a broken connection: each attempt takes minutes.
        while tried < attempts and slow < _SLOW_ATTEMPTS:
            if tried:
                _pause(0.5 * 2 ** (tried - 1))
            tried += 1
            temp = temporary_path(target)
            temp.touch(exist_ok=False)
            try:
                transfer(self.files, address, temp, limit=limit, window_s=2 * self._timeout_s, min_rate=self._min_rate)
                problem = damage(temp)
                if not problem:
                    move_file(temp, target)
                    return
            except ConfigError:  # the package of the scheme is not installed
                raise
            except Exception as error:
                problem = self._reason(name, error)
                slow += isinstance(error, TooSlow)
            finally:
                temp.unlink(missing_ok=True)
        raise OutOfReach(
            f"{self.address}/{name}: {problem}, after {tried} attempts",
            hint="try again later; if the hash stays wrong, the remote file is damaged: upload it again",
        )

    def _reason(self, name: str, error: Exception) -> str:
        """Describe an error without the library's text, which may contain a signed address; raise permanent errors."""
        from imu_video.shards.transfer import Oversized, RedirectRefused, TooSlow

        where = f"{self.address}/{name}"
        if isinstance(error, RedirectRefused):
            raise ShardError(
                f"{where}: the server redirects to {error.place}, which is refused",
                hint=f"use the address of that server if you trust it, or export {REDIRECTS_VARIABLE}=HOST",
            ) from None
        if isinstance(error, Oversized):  # every further attempt would be as large
            raise OutOfReach(
                f"{where}: {error}", hint="check the address of the folder; if it is right, upload the file again"
            ) from None
        if isinstance(error, TooSlow):
            return f"fewer than {self._min_rate:g} bytes per second for {2 * self._timeout_s:g} s"
        status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, FileNotFoundError) or status in (404, 410):
            raise ShardError(f"{where}: no such file", hint="check the address of the folder") from None
        if isinstance(error, PermissionError) or status in (401, 403):
            raise ShardError(f"{where}: access denied", hint="set the credentials of the storage library") from None
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, os.strerror(error.errno), str(self.cache.folder)) from None
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            raise ShardError(f"{where}: no credentials", hint="set those of the storage library") from None
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return f"no byte within {self._timeout_s:g} s"
        return type(error).__name__ + (f" (status {status})" if isinstance(status, int) else "")

    def names(self, folder: str) -> list[str]:
        """Names of the entries of a folder below the address; empty if it cannot be listed (most web servers).

        Raises:
            ShardError: listing is not allowed.
        """
        try:
            found = self._listed(folder)
        except PermissionError:
            raise ShardError(
                f"{self.address}: listing is not allowed", hint="set the credentials of the storage library"
            ) from None
        except Exception:  # the error for an unsupported listing differs per storage library
            return []
        names = {PurePosixPath(str(entry).split("?", 1)[0].rstrip("/")).name for entry in found}
        kept = sorted(name for name in names if _NAME.fullmatch(name) and not name.startswith("."))
        if len(kept) > LISTED:
            raise ShardError(
                f"{self.address}/{folder}: {len(kept)} entries, expected at most {LISTED}", hint="name the one to use"
            )
        return kept

    def _listed(self, folder: str) -> Sequence[str]:
        if self.address.scheme not in ("http", "https"):
            return list(self.files.ls(self.address.child(folder), detail=False))
        # A page of links. The storage library would read it whole, however long it is.
        self.cache.folder.mkdir(parents=True, exist_ok=True)
        page = temporary_path(self.cache.folder / "listing")
        try:
            self._try(f"{folder}/", page, limit=LIST_LIMIT, damage=lambda file: "", attempts=1)
            return _LINK.findall(page.read_text(encoding="utf-8", errors="replace"))
        finally:
            page.unlink(missing_ok=True)


def _limit(name: str) -> int:
    """Largest size of a file of unknown size."""
    if name == "index.json":
        return INDEX_LIMIT
    if name.endswith(".safetensors"):
        return WEIGHTS_LIMIT
    return JSON_LIMIT if name.endswith((".json", ".yaml")) else sys.maxsize


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _damage(file: Path, size: int | None, sha256: str | None) -> str:
    """The fault of a fetched file; an empty string if there is none."""
    bytes_ = file.stat().st_size
    if size is not None and bytes_ != size:
        return f"{bytes_} bytes received, expected {size}"
    if sha256 is not None and (found := file_sha256(file)) != sha256:
        return f"sha256 {found[:12]}..., expected {sha256[:12]}..."
    return ""


def _number(variable: str, usual: float) -> float:
    text = os.environ.get(variable)
    try:
        value = usual if not text else float(text)
    except ValueError:
        value = -1.0
    if value <= 0:
        raise ConfigError(f"${variable} is {text!r}, expected a positive number")
    return value
