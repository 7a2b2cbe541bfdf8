"""From result lines to a report in Markdown and HTML; every protocol provides its own sections, nothing is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from eval.registry import protocols
from eval.report.document import Block, Bullets, Figure, Folded, Section, Table, to_html, to_markdown
from eval.report.words import ONE_PRETRAINING_SEED, remarks, svg, unique
from eval.results.lines import Result
from eval.results.store import LARGEST_FILE
from imu_video.runtime import documents
from imu_video.runtime.files import write_atomic

TITLE = "Transfer evaluation"
SKEWED = "88 to 96 % for an exponential distribution"
"""Simulated coverage of a distribution that a study cannot detect; see studies/inference."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Contents of a report in addition to result lines.

    Args:
        replaced: number of earlier measurements that later ones replace; stated in the report.
        run: run folder whose log.jsonl is plotted.
        pictures: PNG figures from `eval.report.illustrate.draw`.
        sections: further sections: of a protocol's folder, or failure cases.
    """

    replaced: int = 0
    run: Path | None = None
    pictures: Mapping[str, bytes] | None = None
    sections: Sequence[Section] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """The lines of one scope of the report (see `eval.protocol.Scope`) and the title that names it."""

    title: str
    lines: Sequence[Result]

    def by_protocol(self) -> dict[str, list[Result]]:
        """The lines of each protocol, in order of first appearance."""
        out: dict[str, list[Result]] = {}
        for line in self.lines:
            out.setdefault(line.protocol, []).append(line)
        return out


def write_report(results: Sequence[Result], out: Path, extras: Extras | None = None) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a folder.

    Args:
        results: from `read_results`.
        out: folder; created if missing.
        extras: contents in addition to the result lines.

    Returns:
        The two files.

    Raises:
        DataError: a run folder without a readable log, or damaged counts.
    """
    parts = split_parts(results)
    sections = build_sections(results, extras or Extras())
    lead = "; ".join(unique(part.title for part in parts))
    # Everything is rendered before the folder is created, so that a failed report writes no files.
    texts = to_markdown(TITLE, sections), to_html(TITLE, sections, lead=lead[:1].upper() + lead[1:])
    out.mkdir(parents=True, exist_ok=True)
    files = out / "report.md", out / "report.html"
    for path, text in zip(files, texts, strict=True):
        write_atomic(path, text)
    return files


def split_parts(results: Sequence[Result]) -> list[Part]:
    """Lines by scope, in order of first appearance; equal titles are distinguished by their detail."""
    scopes: dict[Any, Any] = {}
    lines: dict[Any, list[Result]] = {}
    for r in results:
        scope = protocols.get(r.protocol).scope(r)
        scopes.setdefault(scope.key, scope)
        lines.setdefault(scope.key, []).append(r)
    titles = [scope.title for scope in scopes.values()]
    return [
        Part(title=f"{s.title} ({s.detail})" if s.detail and titles.count(s.title) > 1 else s.title, lines=lines[key])
        for key, s in scopes.items()
    ]


def build_sections(results: Sequence[Result], extras: Extras) -> list[Section]:
    """All sections of a report; with several parts, each title names its part."""
    parts = split_parts(results)
    sections: list[Section] = []
    for part in parts:
        suffix = f": {part.title}" if len(parts) > 1 else ""
        own = _summary(part) + [
            section for name, lines in part.by_protocol().items() for section in protocols.get(name).sections(lines)
        ]
        sections += [Section(f"{section.title}{suffix}", section.blocks) for section in own]
    sections += extras.sections
    if extras.run is not None:
        from eval.report.figures import tables as figures

        picture = figures.training(read_log(extras.run / "log.jsonl"))
        sections.append(Section("Pretraining", [svg(picture, "loss and validation curves")]))
    sections += _pictures(extras.pictures or {})
    return [*sections, _protocol_section(results), _provenance(results, extras.replaced)]


def _summary(part: Part) -> list[Section]:
    """Conclusions of the part's protocols, then remarks of its lines."""
    sentences = [s for name, lines in part.by_protocol().items() for s in protocols.get(name).conclusions(lines)]
    remarks = unique(str(m) for r in part.lines for m in r.details.get("remarks", ()))
    sentences += [f"Note: {remark}." for remark in remarks]
    return [Section("Summary", [Bullets(sentences)])] if sentences else []


def _pictures(pictures: Mapping[str, bytes]) -> list[Section]:
    shown: list[Block] = []
    if "map" in pictures:
        caption = (
            "t-SNE of the encoder's features on a seeded sample of test windows, three times the same map. Clusters by "
            "class are desirable; clusters by subject or placement show what transfer has to overcome."
        )
        shown.append(Figure(data=pictures["map"], kind="png", alt="map of encoder features", caption=caption))
    if "pairs" in pictures:
        caption = "Test samples as the model pairs them: frames of the clip beside the acceleration of one device."
        shown.append(Figure(data=pictures["pairs"], kind="png", alt="sample pairs of video and IMU", caption=caption))
    return [Section("Data and features", shown)] if shown else []


def _protocol_section(results: Sequence[Result]) -> Section:
    """Notes of the protocols of the report."""
    notes = [note for name in unique(r.protocol for r in results) for note in protocols.get(name).notes]
    shared = (
        "Each value is the mean over subjects of the mean over episodes and seeds. Intervals and p values come from "
        "one procedure and cover subjects, support sets, seeds, folds, and pretraining seeds where several encoders "
        "were evaluated. Comparisons count as decided after Holm's correction over their table. Differences strongly "
        f"skewed over subjects are covered less often than stated ({SKEWED})."
    )
    single = [f"{ONE_PRETRAINING_SEED}."] if any(r.one_pretraining_seed for r in results) else []
    daggers = [f"†: {reason}." for reason in remarks(results)]
    return Section("Evaluation protocol", [Bullets([*notes, shared, *single, *daggers])])


def _provenance(results: Sequence[Result], replaced: int) -> Section:
    """Encoders, data, configs, seeds, versions and commands of the results."""
    r = results[0]
    facts = {
        "encoder": ", ".join(unique(f"{x.encoder.get('name')} (weights {x.encoder.get('weights')})" for x in results)),
        "data": ", ".join(unique(f"{x.data.get('dataset')} (shards {x.data.get('digest')})" for x in results)),
        "evaluation config": ", ".join(unique(x.config_digest for x in results)),
        "seeds": json.dumps(r.seeds, sort_keys=True),
        "versions": ", ".join(f"{k} {v}" for k, v in r.versions.items()),
        "commands": "; ".join(unique(x.command for x in results)),
        "measured": ", ".join(unique(x.time for x in results)),
    }
    table = Table(columns=["item", "value"], rows=[[k, v] for k, v in facts.items()], labels=2)
    blocks: list[Block] = [Folded("Encoders, data, seeds, versions and commands", [table])]
    if replaced:
        blocks.insert(
            0, Bullets([f"{replaced} earlier measurements were replaced by later ones of the same quantity."])
        )
    return Section("Provenance", blocks)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Entries of a run's log.jsonl; an incomplete last line is skipped.

    Raises:
        DataError: no such file, or a damaged line before the last.
    """
    text = documents.read_text(path, hint="--run takes the folder of `imu-pretrain launch`", limit=LARGEST_FILE)
    *lines, _ = text.split("\n")  # a line that was written ends
    hint = f"delete damaged lines of {path}"
    entries = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        content = documents.parse_json(line, where, hint=hint)
        documents.validate(_LogEntry, content, where, hint=hint)
        entries.append(content)
    return entries


class _LogEntry(BaseModel):
    """What the figures use of a line of log.jsonl; the figures of a step are further keys."""

    kind: str | None = None
    step: int = 0
