"""Journal of the finished pieces of a long job, so that an interrupted job resumes; callers compute the pieces."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout
from pydantic import BaseModel

from imu_video.errors import ConfigError, DataError
from imu_video.runtime import documents
from imu_video.runtime.files import file_sha256, remove, remove_leftovers, write_atomic
from imu_video.runtime.identity import changes, digest
from imu_video.runtime.references import restored

JOB_FILE = "job.json"
_LOCK_FILE = "lock"
_FAILED_FILE = "failed"
PARTIAL_SUFFIX, PARTS_SUFFIX = ".partial", ".parts"
logger = logging.getLogger(__name__)


class Journal:
    """A working folder of one job with a record of its finished pieces and their hashes.

    A piece consists of a complete file and a small JSON file with its size, hash and facts, which is written last. A
    piece whose file is missing or changed counts as unfinished. As a context manager the journal locks the folder
    against other processes.

    Args:
        folder: created if missing.
        job: everything that determines the pieces, as JSON.
        what: noun for messages (``build``).
        replace: discard the unfinished work of another job; otherwise it is an error.

    Raises:
        ConfigError: the folder belongs to another job, contains other files, or is locked by another process.

    Example:
        >>> with Journal(Path("jobs"), {"config": "abc"}, what="build") as journal:
        ...     if journal.finished("anna") is None:
        ...         _ = (journal.folder / "anna.tar").write_bytes(b"twelve windows")
        ...         journal.finish("anna", {"windows": 12}, file="anna.tar")
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], *, what: str, replace: bool = False) -> None:
        self.folder = folder
        # A round trip through JSON turns tuples into lists, so that the comparison with a job read from disk is exact.
        self.job = restored(json.loads(json.dumps(job)))
        self._what = what
        self._replace = replace
        self._lock: FileLock | None = FileLock(folder / _LOCK_FILE)
        self.continued = False

    def __getstate__(self) -> dict[str, Any]:
        """State for a copy in another process, which records pieces but does not hold the lock."""
        return {**self.__dict__, "_lock": None}

    def __enter__(self) -> Self:
        self._refuse_foreign()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._lock is not None:
            lock(self._lock, self.folder, self._what)
        try:
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    def _refuse_foreign(self) -> None:
        """Raise an error if the folder contains anything other than a journal."""
        # A link could lead to another user's folder: predictable names in shared folders are never followed.
        for path in (self.folder, *([self.folder.parent] if self.folder.parent.suffix == PARTS_SUFFIX else [])):
            if path.is_symlink():
                raise ConfigError(f"{path} is a link, expected a folder", hint=f"remove the link: rm {path}")
        if not self.folder.exists():
            return
        # A process that was killed while it wrote the job file leaves only the lock and a temporary file of that name.
        ours = self.folder.is_dir() and (
            (self.folder / JOB_FILE).is_file()
            or all(p.name == _LOCK_FILE or p.name.startswith(f".{JOB_FILE}") for p in self.folder.iterdir())
        )
        if not ours:
            raise ConfigError(
                f"{self.folder} exists and is not an unfinished {self._what}", hint="move it, or choose another folder"
            )

    def _open(self) -> None:
        before = read_job(self.folder)
        failed = self.folder / _FAILED_FILE
        if before == self.job:
            self.continued = True
            failed.unlink(missing_ok=True)
            # The lock is held, so that no other process is writing these temporary files.
            remove_leftovers(self.folder)
            return
        if before is not None:
            changed = "; ".join(describe_changes(before, self.job))
            # After an error in the data or config the correction is expected, and the old pieces do not fit it.
            if not (self._replace or failed.is_file()):
                raise ConfigError(
                    f"{self.folder} is an unfinished {self._what} of another config, version or dataset "
                    f"({digest(before)}, this one is {digest(self.job)}). Changed since: {changed}",
                    hint=f"undo the change to finish that {self._what}, or discard it: the same command "
                    f"with --force, or delete {self.folder}",
                )
            logger.info(
                "%s contained an unfinished %s of another config: discarded (%s)", self.folder, self._what, changed
            )
        self.clear()
        write_atomic(self.folder / JOB_FILE, json.dumps(self.job, ensure_ascii=False))

    def failed(self) -> None:
        """Mark the work as ended by an error in data or config: the same job continues, another one replaces it."""
        (self.folder / _FAILED_FILE).touch()

    def clear(self) -> None:
        """Remove everything except the lock."""
        for path in self.folder.iterdir():
            if path.name != _LOCK_FILE:
                remove(path)

    def remove(self) -> None:
        """Remove the folder: the job is complete, or has failed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.suffix == PARTS_SUFFIX:
            with suppress(OSError):
                self.folder.parent.rmdir()  # fails while other parts exist

    def finish(
        self, name: str, facts: Mapping[str, Any], *, file: str | None = None, sha256: str | None = None
    ) -> None:
        """Record a finished piece.

        Args:
            name: name of the piece.
            facts: JSON values that `finished` returns.
            file: path inside the folder, complete and closed; None for a piece without a file.
            sha256: hash of the file if already known.
        """
        path = None if file is None else self.folder / file
        record = {
            "file": file,
            "bytes": 0 if path is None else path.stat().st_size,
            "sha256": None if path is None else sha256 or file_sha256(path),
            "facts": dict(facts),
        }
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        # Not synced: after a power failure the hash reveals which files did not reach the disk.
        write_atomic(self.folder / f"{name}.json", text, sync=False)

    def finished(self, name: str, *, check: bool = True) -> dict[str, Any] | None:
        """Facts of a finished piece, None for an unfinished one.

        Args:
            name: name of the piece.
            check: compare size and hash of the file first; not needed for pieces that this process has just written.
        """
        facts = self.folder / f"{name}.json"
        try:
            record = documents.read_model(facts, _Piece)
            if check and record.file is not None:
                path = self.folder / record.file
                if path.stat().st_size != record.bytes or file_sha256(path) != record.sha256:
                    raise DataError(f"{path}: changed since it was written")
            return record.facts
        except (DataError, OSError):
            # The record is removed, so that the piece stays unfinished for calls with ``check=False`` as well.
            facts.unlink(missing_ok=True)
            return None

    def forget(self, name: str) -> None:
        """Mark a piece as unfinished."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)


class _Piece(BaseModel):
    """The record of a finished piece, see `Journal.finish`."""

    file: str | None
    bytes: int
    sha256: str | None
    facts: dict[str, Any]


_DESCRIBED = 4


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences between two jobs, in words, without the hashes of configs, which follow from the rest."""
    lines = [line for line in changes(before, now) if not line.startswith("config_digest")]
    more = len(lines) - _DESCRIBED
    return lines[:_DESCRIBED] + ([f"and {more} more"] if more > 0 else [])


def lock(held: FileLock, folder: Path, what: str) -> None:
    """Take the lock of a working folder without waiting.

    Raises:
        ConfigError: another process holds the lock.
    """
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"another process is writing to {folder}", hint=f"wait until that {what} has ended, or stop it"
        ) from error
    except NotImplementedError:
        pass  # a file system without locks: two processes would repeat the same work and write the same files


def read_job(folder: Path) -> dict[str, Any] | None:
    """The job of a working folder; None if there is no job file or it cannot be read."""
    try:
        job = documents.read_json(folder / JOB_FILE)
    except DataError:
        return None
    return job if isinstance(job, dict) else None


def interrupted(error: BaseException) -> bool:
    """Whether a job that ended with this error can resume: killed, disk or memory full, lost worker or network.

    The cause of any other error is the data, the config or the code. Fixing it may change pieces that are already
    finished, so they cannot be kept.
    """
    return not isinstance(error, Exception) or isinstance(error, OSError | MemoryError) or hasattr(error, "unfinished")


@contextmanager
def kept_when_interrupted(work: Journal) -> Iterator[None]:
    """Hold a journal; remove its work after an error that prevents resuming, see `interrupted`."""
    with work:
        try:
            yield
        except BaseException as error:
            if not interrupted(error):
                work.remove()
            raise


def piece_name(text: str) -> str:
    """A file name for any text: readable if the text is plain ASCII, always distinct."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in text)[:40]
    return f"{plain}-{digest([text], length=16)}"
