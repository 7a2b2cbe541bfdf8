"""From result lines to a report: conclusions, tables and figures, as Markdown and one HTML page; measures nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.report import plots
from eval.report.calibration import calibration_sections
from eval.report.document import Block, Bullets, Figure, Folded, Section, Table, to_html, to_markdown
from eval.report.fewshot import fewshot_sections
from eval.report.labels import labels_sections
from eval.report.ood import ood_sections, runs_section
from eval.report.plain import plain_sections
from eval.report.words import svg, unique
from eval.results.store import Result
from imu_video.errors import DataError
from imu_video.runtime.files import write_atomic


def write_report(
    results: Sequence[Result],
    out: Path,
    *,
    replaced: int = 0,
    run: Path | None = None,
    pictures: Mapping[str, bytes] | None = None,
    benchmarks: Sequence[Path] = (),
    cases: Section | None = None,
) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a folder.

    Args:
        results: from `read_results`.
        out: folder; made where it does not exist.
        replaced: how many earlier measurements of the same thing were passed over (stated in the report).
        run: run folder whose log.jsonl is plotted.
        pictures: PNG figures of `eval.report.illustrate.draw`.
        benchmarks: folders of `imu-eval ood --folder`, for source validation against target accuracy.
        cases: section of `eval.report.failures.failures_section`.

    Returns:
        The two files.

    Raises:
        DataError: a run folder without a readable log, a folder without runs, or damaged counts.
    """
    sections = build_sections(
        results, replaced=replaced, run=run, pictures=pictures or {}, benchmarks=benchmarks, cases=cases
    )
    shifts = sorted({r.domain for r in results if r.kind.startswith("ood")})
    names = sorted({str(r.encoder.get("name", "encoder")) for r in results if not r.kind.startswith("ood")})
    data = sorted({str(r.data.get("dataset", "data")) for r in results})
    title = "How the encoder carries over"
    what = [f"encoder {', '.join(names)}"] * bool(names) + [f"domain shift {', '.join(shifts)}"] * bool(shifts)
    lead = f"{'; '.join(what)} on {', '.join(data)}"
    lead = lead[0].upper() + lead[1:]
    out.mkdir(parents=True, exist_ok=True)
    files = out / "report.md", out / "report.html"
    for path, text in zip(files, (to_markdown(title, sections), to_html(title, sections, lead=lead)), strict=True):
        write_atomic(path, text)
    return files


def build_sections(
    results: Sequence[Result],
    *,
    replaced: int,
    run: Path | None,
    pictures: Mapping[str, bytes],
    benchmarks: Sequence[Path] = (),
    cases: Section | None = None,
) -> list[Section]:
    """All sections of a report; several encoders or datasets get sections of their own."""
    groups: dict[tuple[Any, Any], list[Result]] = {}
    fixed: dict[Any, list[Result]] = {}  # one table for all encoders: they are there to be compared
    shifts: dict[Any, list[Result]] = {}
    for r in results:
        if r.kind.startswith("ood"):
            shifts.setdefault((r.domain, r.data.get("digest"), r.encoder.get("weights")), []).append(r)
        elif r.kind.startswith("labels"):
            fixed.setdefault(r.data.get("digest"), []).append(r)
        else:
            groups.setdefault((r.encoder.get("weights"), r.data.get("digest")), []).append(r)
    sections: list[Section] = []
    for own in groups.values():
        suffix = ""
        if len(groups) > 1:
            suffix = f": {own[0].encoder.get('name', 'encoder')} on {own[0].data.get('dataset', 'data')}"
        sections += [*fewshot_sections(own, suffix), *plain_sections(own, suffix)]
        sections += calibration_sections([r for r in own if r.kind == "zeroshot"], f" Zero-shot{suffix}")
    for own in fixed.values():
        suffix = f" on {own[0].data.get('dataset', 'data')}"
        sections += [*labels_sections(own, suffix), *calibration_sections(own, f" Limited labels{suffix}")]
    names = [own[0].domain for own in shifts.values()]
    for own in shifts.values():
        more = f" ({own[0].encoder.get('weights') or 'no encoder'})" if names.count(own[0].domain) > 1 else ""
        suffix = f": {own[0].domain}{more}"
        sections += [*ood_sections(own, suffix), *calibration_sections(own, f" Domain shift{suffix}")]
    sections += [runs_section(folder) for folder in benchmarks]
    if cases is not None:
        sections.append(cases)
    if run is not None:
        sections.append(
            Section("Pretraining", [svg(plots.training(read_log(run / "log.jsonl")), "loss and validation curves")])
        )
    shown: list[Block] = []
    if "map" in pictures:
        caption = (
            "t-SNE of the encoder's features of a seeded sample of test windows. The same map three times; groups "
            "by activity are wanted, groups by person or placement are what transfer has to overcome."
        )
        shown.append(Figure(data=pictures["map"], kind="png", alt="map of encoder features", caption=caption))
    if "pairs" in pictures:
        caption = "Test samples as the model pairs them: frames of the clip beside the acceleration of one device."
        shown.append(Figure(data=pictures["pairs"], kind="png", alt="sample pairs of video and IMU", caption=caption))
    if shown:
        sections.append(Section("What the data and the features look like", shown))
    sections.append(_how(results, replaced))
    return sections


def _how(results: Sequence[Result], replaced: int) -> Section:
    """How it was measured, and with what."""
    r = results[0]
    items = [
        "An episode draws people who give a few labelled windows a class (the support); everybody else is asked. No "
        "person and no recording is on both sides, and nobody of the encoder's pretraining is asked.",
        "`within`: support from the target domain itself. `transfer`: support from another domain.",
        "Supports are nested: the 5-shot set contains the 1-shot set. All models see the same episodes.",
        "Probes are fitted on the support alone, scaling and ridge strength included.",
        "A figure is the mean over people of the mean over episodes. Intervals resample people, then episodes, and are "
        "widened for few people (expanded percentile interval).",
        "`untrained` averages encoders of the same architecture with random weights; `supervised` learns encoder and "
        "head from the support alone, on fewer episodes.",
    ]
    if replaced:
        items.append(f"{replaced} earlier measurements of the same thing were replaced by later ones.")
    facts = {
        "encoder": ", ".join(unique(f"{x.encoder.get('name')} (weights {x.encoder.get('weights')})" for x in results)),
        "data": ", ".join(unique(f"{x.data.get('dataset')} (shards {x.data.get('digest')})" for x in results)),
        "evaluation config": ", ".join(unique(x.config_digest for x in results)),
        "seeds": json.dumps(r.seeds, sort_keys=True),
        "versions": ", ".join(f"{k} {v}" for k, v in r.versions.items()),
        "commands": "; ".join(unique(x.command for x in results)),
        "measured": ", ".join(unique(x.time for x in results)),
    }
    table = Table(columns=["what", "value"], rows=[[k, v] for k, v in facts.items()], labels=2)
    return Section("How this was measured", [Bullets(items), Folded("Origin of every figure", [table])])


def read_log(path: Path) -> list[dict[str, Any]]:
    """Entries of a run's log.jsonl; a last line that is still being written is passed over.

    Raises:
        DataError: no such file, or a damaged line before the last.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", hint="--run takes the folder of `imu-pretrain launch`"
        ) from error
    out = []
    for number, line in enumerate(lines, start=1):
        try:
            out.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise DataError(f"{path}, line {number} is not JSON") from error
    return out
