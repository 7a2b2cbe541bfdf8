"""An evaluation protocol: its options, config, run and sections of the report; the built-in ones are in eval.protocols.

A protocol is a registered class like an encoder or a loss. Its keyword-only constructor arguments are the options of
its command `imu-eval NAME`: an argument without a default becomes a positional argument, and `typer` annotations give
help texts. ``run`` returns result lines, and class methods turn such lines into tables and sections of the report.

    from eval.protocol import Context, Protocol, protocols

    @protocols.register("mine")
    class Mine(Protocol):
        '''Accuracy of my own procedure.'''

        name = "mine"

        def __init__(self, *, encoder: Path, data: Path, repeats: int = 5) -> None: ...

        def run(self, context: Context) -> list[Result]: ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eval import registry
from eval.report.document import Section, Table
from eval.report.rows import figure_table
from eval.results.lines import Result
from imu_video.config import Config
from imu_video.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Context:
    """Surroundings of a run: where results go, and which plugins are loaded.

    Args:
        out: result file; counts and finished cells are stored beside it.
        plugins: plugin files that worker processes must import as well.
    """

    out: Path = Path("results.jsonl")
    plugins: Sequence[Path] = ()

    @property
    def cells(self) -> Path:
        """Folder beside the result file for counts and finished cells."""
        return self.out.parent / f"{self.out.stem}.cells"


@dataclass(frozen=True)
class Scope:
    """The measurements that share one part of the report, with one summary.

    Args:
        key: equal for lines that belong together.
        title: names the part where a report has several.
        detail: added to the title where two parts would have the same one.
    """

    key: Hashable
    title: str
    detail: str = ""


class Protocol(ABC):
    """Base of the evaluation protocols.

    Attributes:
        name: registered name; the kind of its result lines, and with ``-difference`` of its paired differences.
        Config: pydantic model of its config file; None for a protocol without one.
        variants: names of ``details`` in which two lines of the same model, probe and domain may differ.
        notes: sentences of the report on how the protocol measures.
        report_folder: help text of the option ``--NAME-folder`` of `imu-eval report`; None for no such option.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config] | None] = None
    variants: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    report_folder: ClassVar[str | None] = None

    @abstractmethod
    def run(self, context: Context) -> list[Result]:
        """Measure and return result lines; none where only a part of the work was done."""

    def check(self) -> None:  # noqa: B027 - a protocol without a config has nothing to check
        """Refuse an invalid config before anything runs; `imu-eval run` calls it for every step of a protocol file.

        Raises:
            ConfigError: the first fault.
        """

    def lacks(self) -> str | None:
        """What the encoder or the data lack for this protocol, or None; called before anything runs."""
        return None

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        """Tables that the command prints for the lines of one run."""
        return [figure_table(results)]

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        """Sections of the report for the lines of one scope."""
        return [Section(cls.name, list(cls.tables(results)))]

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        """Sentences of the summary for the lines of one scope."""
        return []

    @classmethod
    def scope(cls, line: Result) -> Scope:
        """The part of the report that a line belongs to: by default one for each encoder and dataset."""
        key = (line.encoder.get("weights"), line.data.get("digest"))
        return Scope(key, f"{line.encoder.get('name', 'encoder')} on {line.data.get('dataset', 'data')}")

    @classmethod
    def folder_sections(cls, folder: Path) -> list[Section]:
        """Sections of the report for a folder given with ``--NAME-folder``."""
        raise NotImplementedError(f"protocol {cls.name!r} has no report folder")


protocols: Registry[Protocol] = registry.protocols
"""Evaluation protocols by name; `eval.protocols` registers the built-in ones."""
