"""Files in the folder of a benchmark: their models and reading them; writing them and running is done in grid.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imu_video.arguments import Finite
from imu_video.runtime import documents
from imu_video.types import JsonDict

FACTS = "benchmark.json"
_Matrix = list[list[Annotated[int, Field(ge=0)]]]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Facts(_Stored):
    """Content of benchmark.json: format version, resolved config without the free keys, digest of the windows."""

    format: int = 1
    identity: dict[str, Any]
    data: str | None = None


class StoredRun(_Stored):
    """Content of a run's file, see `eval.protocols.ood.train.train`; further keys are allowed."""

    model: str
    algorithm: str
    target: str
    held: str | None
    seed: int
    valid: Finite
    setting: dict[str, Any]
    classes: list[str] = Field(min_length=1)
    people: dict[str, _Matrix] = Field(min_length=1)
    bins: dict[str, list[tuple[Finite, Finite, Finite]]] | None = None
    by_alpha: list[tuple[Finite, Finite, Finite]] | None = None
    alpha: Finite | None = None
    checkpoints: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]*$")], dict[str, _Matrix]] | None = None

    @model_validator(mode="after")
    def _square(self) -> StoredRun:
        wide = len(self.classes)
        every = [self.people, *(self.checkpoints or {}).values()]
        for subject, counts in (item for people in every for item in people.items()):
            if len(counts) != wide or any(len(row) != wide for row in counts):
                raise ValueError(f"people.{subject}: expected {wide} rows of {wide} counts, one per class")
        if not any(count for counts in self.people.values() for row in counts for count in row):
            raise ValueError("people: every count is 0, expected at least one window")
        if len({len(bins) for bins in (self.bins or {}).values()}) > 1:
            raise ValueError("bins: expected the same number of bins for every subject")
        return self


def read_facts(folder: Path) -> JsonDict:
    """Content of benchmark.json.

    Raises:
        DataError: missing, damaged, or not the facts of a benchmark.
    """
    content = documents.read_json(folder / FACTS, hint=_OPTION)
    documents.validate(Facts, content, str(folder / FACTS), hint=_OPTION)
    return dict(content)


_OPTION = "--ood-folder and --folder take the folder of `imu-eval ood`"


def read_run(file: Path) -> JsonDict:
    """Content of a run's file.

    Raises:
        DataError: missing, damaged, or not a result.
    """
    hint = f"delete {file} and repeat the command"
    content = documents.read_json(file, hint=hint)
    documents.validate(StoredRun, content, f"{file}: not a result", hint=hint)
    return dict(content)
