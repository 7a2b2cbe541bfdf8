"""Fetches remote files (s3, gs, http, https, hf) into a bounded local cache; does not parse them.

The storage libraries read credentials from the environment or their config files, never from an address. No message
repeats a query string or a library's error text, because both can contain a signed address.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.files import file_sha256, move_file, temporary_path

EXTRAS = {"s3": "s3", "gs": "gcs", "http": "http", "https": "http", "hf": "hf"}
"""Address schemes, and the extra of this package that each needs."""
CACHE_VARIABLE, SIZE_VARIABLE, TIMEOUT_VARIABLE = "IMU_VIDEO_CACHE", "IMU_VIDEO_CACHE_GB", "IMU_VIDEO_REMOTE_TIMEOUT"
CACHE_GB, TIMEOUT_S = 50.0, 60.0
ATTEMPTS = 5
"""Times a file is tried before it counts as out of reach; waits of 0.5, 1, 2, 4 seconds lie between."""
_IN_USE_S = 60.0
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
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

    Several processes can share one cache: a file is fetched once and appears only when it is complete. Files used
    within the last minute are kept, so that a path returned to a caller still exists when the caller opens it.

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
            self.make_room(size or 0)
            fetch(target)
        self.make_room(0)
        return target

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
            found = []
            for path in self.folder.rglob("*"):
                with suppress(OSError):
                    if path.is_file() and not path.name.startswith("."):
                        state = path.stat()
                        found.append((state.st_mtime, state.st_size, path))
            total = sum(bytes_ for _, bytes_, _ in found)
            for used, bytes_, path in sorted(found):
                if total + size <= self.size or used > time.time() - self.in_use_s:
                    return
                with suppress(OSError):  # some systems cannot remove open files; a later call retries
                    path.unlink()
                    total -= bytes_


class RemoteFolder:
    """The files of a remote folder, fetched into a cache.

    Args:
        address: of the folder.
        cache: stores the fetched files.
        attempts: maximum number of attempts per file.
        timeout_s: seconds without a byte after which a connection counts as stalled; ``$IMU_VIDEO_REMOTE_TIMEOUT``
            (60) when None.

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
    ) -> None:
        self.address = address
        self.cache = cache or Cache()
        self._attempts = attempts
        self._timeout_s = _number(TIMEOUT_VARIABLE, TIMEOUT_S) if timeout_s is None else timeout_s
        self._files: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": None}

    @property
    def files(self) -> Any:
        """The fsspec file system, opened again in a forked process, because connections do not survive a fork."""
        if self._files is None or self._files[0] != os.getpid():
            self._files = (os.getpid(), _file_system(self.address.scheme, self._timeout_s))
        return self._files[1]

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

    def fetch(self, name: str, target: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        """Fetch a file to a local path; the result is complete and has the expected size and hash.

        Args:
            name: relative to the address.
            target: local path; its folder must exist.
            size: expected bytes.
            sha256: expected hash.

        Raises:
            ShardError: the file does not exist, access is denied, or all attempts failed or gave a damaged file.
        """
        problem = ""
        for attempt in range(self._attempts):
            if attempt:
                _pause(0.5 * 2 ** (attempt - 1))
            temp = temporary_path(target)
            try:
                self.files.get_file(self.address.child(name), str(temp))
                problem = _damage(temp, size, sha256)
                if not problem:
                    move_file(temp, target)
                    return
            except Exception as error:
                problem = self._reason(name, error)
            finally:
                temp.unlink(missing_ok=True)
        raise OutOfReach(
            f"{self.address}/{name}: {problem}, after {self._attempts} attempts",
            hint="try again later; if the hash stays wrong, the remote file is damaged: upload it again",
        )

    def _reason(self, name: str, error: Exception) -> str:
        """Describe an error without the library's text, which may contain a signed address; raise permanent errors."""
        where = f"{self.address}/{name}"
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
            found = self.files.ls(self.address.child(folder), detail=False)
        except PermissionError:
            raise ShardError(
                f"{self.address}: listing is not allowed", hint="set the credentials of the storage library"
            ) from None
        except Exception:  # the error for an unsupported listing differs per storage library
            return []
        names = {PurePosixPath(str(entry).split("?", 1)[0].rstrip("/")).name for entry in found}
        return sorted(name for name in names if _NAME.fullmatch(name) and not name.startswith("."))


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _damage(file: Path, size: int | None, sha256: str | None) -> str:
    """The fault of a fetched file; an empty string if there is none."""
    bytes_ = file.stat().st_size
    if size is not None and bytes_ != size:
        return f"{bytes_} bytes came, expected {size}"
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


def _file_system(scheme: str, timeout_s: float) -> Any:
    """An fsspec file system that drops a connection that receives no data for ``timeout_s`` seconds."""
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
            options["client_kwargs"] = {"timeout": timeout}
        elif scheme == "s3":
            once = {"max_attempts": 1}
            options["config_kwargs"] = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": once}
        return fsspec.filesystem(scheme, **options)
    except ImportError:
        raise ConfigError(
            f"addresses of scheme {scheme!r} need a package that is not installed",
            hint=f"pip install 'imu-video[{EXTRAS[scheme]}]'",
        ) from None
