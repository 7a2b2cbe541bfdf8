"""Tables of `imu-pretrain status`, from log and checkpoints; a run is read, never changed."""

from __future__ import annotations

from pathlib import Path

from imu_video.errors import CheckpointError
from pretrain.checkpoints.store import CheckpointStore, read_state
from pretrain.observe.trackers import count_damaged, read_log
from pretrain.runs.folder import RunFolder

Table = tuple[str, list[str], list[list[str]]]
_ATTEMPTS = 100
"""Listings of the checkpoints of a run that replaces all of them between listing and reading."""


def describe(path: Path) -> list[Table]:
    """Tables (title, columns, rows) of a run's last metrics and its checkpoints.

    Raises:
        CheckpointError: not a run folder.
    """
    folder = RunFolder(path)
    if not folder.holds_run:
        raise CheckpointError(f"{path} is not a run folder (no config.yaml)", hint="`imu-pretrain launch` makes one")
    log, damaged = (read_log(folder.log_file), count_damaged(folder.log_file)) if folder.log_file.is_file() else ([], 0)
    tables: list[Table] = []
    for kind in ("train", "validate"):
        last = next((line for line in reversed(log) if line["kind"] == kind), None)
        if last is not None:
            rows = [[name, _show(value)] for name, value in last.items() if name not in ("kind", "step")]
            tables.append((f"{kind}, step {last['step']}", ["number", "value"], rows))
    rows = _checkpoints(folder.store)
    if damaged:
        tables.append(("log", ["file", "damaged lines"], [[folder.log_file.name, str(damaged)]]))
    tables.append(("checkpoints", ["name", "is", "best so far"], rows))
    return tables


def _checkpoints(store: CheckpointStore) -> list[list[str]]:
    """A row per checkpoint; never empty where one exists, also while a running process replaces them."""
    rows: list[list[str]] = []
    for _ in range(_ATTEMPTS):
        names = store.names()
        marks = {which: store.pointer(which) for which in ("latest", "best")}
        for name in names:
            try:
                best = read_state(store.folder / name)["state"]["state"]["best"]
                score = f"{best['rule']} {best['value']:.4f} at {best['step']}" if best else ""
            except CheckpointError as error:
                if not (store.folder / name).exists():  # replaced since it was listed
                    continue
                score = error.message.rpartition(": ")[2]
            rows.append([name, ", ".join(which for which, pointed in marks.items() if pointed == name), score])
        if rows or not names:
            break  # else all of them were replaced since they were listed
    return rows


def _show(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
