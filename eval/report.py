"""From result lines to a report: conclusions, tables and figures, as Markdown and one HTML page; measures nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval import plots
from eval.document import Block, Bullets, Cell, Figure, Folded, Section, Table, Text, to_html, to_markdown
from eval.labels_results import labels_table
from eval.plots import words
from eval.results import Result, load_counts
from imu_video.errors import DataError

HEADLINE = "macro_f1"
ORDER = ("pretrained", "untrained", "handcrafted", "supervised", "teacher")


def write_report(
    results: Sequence[Result],
    out: Path,
    *,
    replaced: int = 0,
    run: Path | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a folder.

    Args:
        results: from `read_results`.
        out: folder; made where it does not exist.
        replaced: how many earlier measurements of the same thing were passed over (stated in the report).
        run: run folder whose log.jsonl is plotted.
        pictures: PNG figures of `eval.illustrate.draw`.

    Returns:
        The two files.

    Raises:
        DataError: a run folder without a readable log, or damaged counts.
    """
    sections = build_sections(results, replaced=replaced, run=run, pictures=pictures or {})
    names = sorted({str(r.encoder.get("name", "encoder")) for r in results})
    data = sorted({str(r.data.get("dataset", "data")) for r in results})
    title = "How the encoder carries over"
    lead = f"Encoder {', '.join(names)} on {', '.join(data)}"
    out.mkdir(parents=True, exist_ok=True)
    files = out / "report.md", out / "report.html"
    for path, text in zip(files, (to_markdown(title, sections), to_html(title, sections, lead=lead)), strict=True):
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    return files


def build_sections(
    results: Sequence[Result], *, replaced: int, run: Path | None, pictures: Mapping[str, bytes]
) -> list[Section]:
    """All sections of a report; several encoders or datasets get sections of their own."""
    groups: dict[tuple[Any, Any], list[Result]] = {}
    fixed: dict[Any, list[Result]] = {}  # one table for all encoders: they are there to be compared
    for r in results:
        if r.kind.startswith("labels"):
            fixed.setdefault(r.data.get("digest"), []).append(r)
        else:
            groups.setdefault((r.encoder.get("weights"), r.data.get("digest")), []).append(r)
    sections: list[Section] = []
    for own in fixed.values():
        sections += labels_sections(own, f" on {own[0].data.get('dataset', 'data')}")
    for own in groups.values():
        suffix = ""
        if len(groups) > 1:
            suffix = f": {own[0].encoder.get('name', 'encoder')} on {own[0].data.get('dataset', 'data')}"
        sections += _group_sections(own, suffix)
    if run is not None:
        sections.append(
            Section("Pretraining", [_svg(plots.training(read_log(run / "log.jsonl")), "loss and validation curves")])
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


def _group_sections(results: list[Result], suffix: str) -> list[Section]:
    metrics = [r.metric for r in results if r.kind == "fewshot"]
    headline = HEADLINE if HEADLINE in metrics else (metrics[0] if metrics else HEADLINE)
    sections = [Section(f"In short{suffix}", [Bullets(conclusions(results, metric=headline))])]
    if metrics:
        blocks: list[Block] = [
            _svg(
                plots.curves(results, metric=headline),
                f"few-shot curves of {words(headline)} for every domain",
                f"{words(headline)} against labelled windows a class; bars are 95 % intervals over people, episodes.",
            )
        ]
        blocks += [few_shot_table(results, d, headline) for d in _unique(r.domain for r in results if r.shots)]
        others = [m for m in _unique(metrics) if m != headline]
        if others:
            tables = [
                few_shot_table(results, d, m) for m in others for d in _unique(r.domain for r in results if r.shots)
            ]
            blocks.append(Folded(f"The same for {' and '.join(map(words, others))}", tables))
        sections.append(Section(f"Few-shot{suffix}", blocks))
    if any(r.kind == "fewshot-difference" for r in results):
        caption = (
            "Pretrained minus reference, cell by cell on the same people and episodes. Green or red: the interval "
            "excludes zero. The supervised reference runs on fewer episodes; only those are compared with it."
        )
        figure = _svg(plots.forest(results, metric=headline), "paired differences with intervals", caption)
        sections.append(Section(f"Paired differences{suffix}", [figure, difference_table(results, headline)]))
    confusions = _confusions(results, headline)
    if confusions:
        sections.append(Section(f"What is mistaken for what{suffix}", confusions))
    for kind, title in (("zeroshot", "Zero-shot from video"), ("retrieval", "Retrieval between IMU and video")):
        own = [r for r in results if r.kind == kind]
        if own:
            sections.append(Section(f"{title}{suffix}", _plain_tables(own)))
    return sections


def labels_sections(own: Sequence[Result], suffix: str) -> list[Section]:
    """Limited labels with fixed people: figures and paired differences, a table a metric."""
    blocks: list[Block] = []
    for metric in _unique(r.metric for r in own):
        for differences in (False, True):
            caption, columns, rows = labels_table(own, metric=metric, differences=differences)
            if rows:
                table: list[list[str | Cell]] = [list(row) for row in rows]
                blocks.append(Table(columns=columns, rows=table, labels=4 if differences else 3, caption=caption))
    note = (
        "The last step of a fixed schedule; in brackets after `chosen` the step that was best on the people of "
        "`choose`, a choice among ten on one or few people. `*`: the interval excludes zero. With few people asked the "
        "intervals are wide, as they should be."
    )
    return [Section(f"Limited labels{suffix}", [*blocks, Text(note)])]


def conclusions(results: Sequence[Result], *, metric: str) -> list[str]:
    """Sentences that the figures carry, wins and losses alike; only intervals that exclude zero count as either."""
    out: list[str] = []
    differences = [r for r in results if r.kind == "fewshot-difference" and r.metric == metric]
    for reference in _unique(str(r.reference) for r in differences):
        own = [r for r in differences if r.reference == reference]
        wins = [r for r in own if r.excludes_zero and r.value > 0]
        losses = [r for r in own if r.excludes_zero and r.value < 0]
        name = {"handcrafted": "hand-crafted features", "supervised": "the supervised encoder"}.get(
            reference, f"the {reference} encoder"
        )
        open_ones = len(own) - len(wins) - len(losses)
        out.append(
            f"Against {name}: better in {len(wins)} of {len(own)} comparisons (domain, shots and probe), worse in "
            f"{len(losses)}, undecided in {open_ones}, by {words(metric)}."
        )
        if losses:
            out.append(f"Where {name} did better: {'; '.join(_gathered(losses))}.")
    shots = [r for r in results if r.kind == "fewshot" and r.metric == metric and r.model == "pretrained"]
    if shots:
        most = max(int(r.shots or 0) for r in shots)
        at_most = [r for r in shots if r.shots == most]
        best, worst = max(at_most, key=lambda r: r.value), min(at_most, key=lambda r: r.value)
        out.append(
            f"At {most} shots the pretrained encoder reaches {_figure(best)} in {best.domain} ({best.probe}) and "
            f"{_figure(worst)} in {worst.domain} ({worst.probe}); chance is about {best.chance or 0:.2f}."
        )
        few = min(r.subjects for r in shots)
        if few < 5:
            out.append(f"Some domain asks only {few} people: its interval says little about people at large.")
    zero = [r for r in results if r.kind == "zeroshot" and r.metric == "balanced_accuracy" and r.model == "pretrained"]
    for r in zero:
        verdict = "above" if (r.low or 0) > (r.chance or 0) else "not clearly above"
        out.append(
            f"Zero-shot from video in {r.domain}: balanced accuracy {_figure(r)}, {verdict} chance ({r.chance:.2f})."
        )
    remarks = _unique(str(m) for r in results for m in r.details.get("remarks", ()))
    return out + [f"Note: {remark}." for remark in remarks] or ["No comparison was measured."]


def _gathered(losses: Sequence[Result]) -> list[str]:
    """Losses a domain: over which shots and probes, and how large."""
    out = []
    for domain in _unique(r.domain for r in losses):
        own = [r for r in losses if r.domain == domain]
        shots = ", ".join(_unique(str(r.shots) for r in own))
        low, high = min(r.value for r in own), max(r.value for r in own)
        size = f"{low:+.3f}" if low == high else f"{low:+.3f} to {high:+.3f}"
        out.append(f"{domain} ({shots} shots; {', '.join(_unique(str(r.probe) for r in own))}) by {size}")
    return out


def few_shot_table(results: Sequence[Result], domain: str, metric: str) -> Table:
    """One domain's figures: a row a model and probe, a column a shot count."""
    own = [r for r in results if r.kind == "fewshot" and r.metric == metric and r.domain == domain]
    shots = sorted({int(r.shots or 0) for r in own})
    rows = []
    for model, probe in sorted({(r.model, str(r.probe)) for r in own}, key=lambda k: (_rank(k[0]), k[1])):
        line = {r.shots: r for r in own if (r.model, r.probe) == (model, probe)}
        episodes = _unique(str(line[s].episodes) for s in shots if s in line)
        rows.append([model, probe, *(_figure(line[s]) if s in line else "" for s in shots), "/".join(episodes)])
    first = own[0]
    return Table(
        columns=["model", "probe", *(f"{s} shot{'s' if s != 1 else ''}" for s in shots), "episodes"],
        rows=rows,
        labels=2,
        caption=f"{domain} ({first.setting}): {words(metric)}, {len(first.details.get('classes', ()))} classes, "
        f"{first.subjects} people asked, chance {first.chance or 0:.3f}",
    )


def difference_table(results: Sequence[Result], metric: str) -> Table:
    """Paired differences with intervals, marked where the interval excludes zero."""
    own = [r for r in results if r.kind == "fewshot-difference" and r.metric == metric]
    rows: list[list[str | Cell]] = [
        [r.domain, str(r.shots), str(r.probe), str(r.reference), _difference(r), str(r.subjects), str(r.episodes)]
        for r in own
    ]
    return Table(
        columns=["domain", "shots", "probe", "minus", words(metric), "people", "episodes"],
        rows=rows,
        labels=4,
        caption="▲ the whole 95 % interval is above zero, ▼ below zero; no sign: undecided",
    )


def _plain_tables(results: Sequence[Result]) -> list[Block]:
    """Zero-shot and retrieval: a row a domain, model and probe, a column a metric."""
    metrics = _unique(r.metric for r in results)
    keys = list(dict.fromkeys((r.domain, r.model, str(r.probe)) for r in results))
    rows: list[list[str | Cell]] = []
    for key in keys:
        line = {r.metric: r for r in results if (r.domain, r.model, str(r.probe)) == key}
        first = next(iter(line.values()))
        guesses = [line[m].chance for m in metrics if m in line]
        chance = " / ".join(_unique(f"{c:.3f}" for c in guesses if c is not None))
        extra = str(first.details.get("gallery", first.details.get("remark", "")))
        rows.append([*key, *(_figure(line[m]) if m in line else "" for m in metrics), chance, extra])
    last = "gallery" if results[0].kind == "retrieval" else "anchors"
    return [
        Table(columns=["domain", "model", "probe", *map(words, metrics), "chance", last], rows=rows, labels=3),
        Text(
            "Matches are pairs of a window and its own video; ties count against the query."
            if results[0].kind == "retrieval"
            else "Prototypes are mean video embeddings of people who are not queried; no labelled IMU window is "
            "used. The row `teacher` classifies the queries' own videos: what these prototypes allow at best."
        ),
    ]


def _confusions(results: Sequence[Result], metric: str) -> list[Block]:
    """Confusion matrices of the pretrained encoder's best and weakest domain at most shots."""
    own = [
        r
        for r in results
        if r.kind == "fewshot" and r.metric == metric and r.model == "pretrained" and r.cells is not None
    ]
    if not own:
        return []
    most = max(int(r.shots or 0) for r in own)
    own = sorted((r for r in own if r.shots == most), key=lambda r: -r.value)
    blocks: list[Block] = []
    for r in [own[0], *([own[-1]] if own[-1].domain != own[0].domain else [])]:
        counts, names = load_counts(str(r.cells), beside=Path())
        title = f"{r.domain}, {r.shots} shots, {r.probe}"
        total = counts.sum(axis=(0, 1, 2))
        blocks.append(
            _svg(
                plots.confusion(total, names["classes"], title=title),
                f"confusion matrix of {title}",
                f"The pretrained encoder's {'best' if r is own[0] else 'weakest'} domain by {words(metric)}; shares of "
                "the true class in per cent, over all episodes.",
            )
        )
    return blocks


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
        "encoder": ", ".join(_unique(f"{x.encoder.get('name')} (weights {x.encoder.get('weights')})" for x in results)),
        "data": ", ".join(_unique(f"{x.data.get('dataset')} (shards {x.data.get('digest')})" for x in results)),
        "evaluation config": ", ".join(_unique(x.config_digest for x in results)),
        "seeds": json.dumps(r.seeds, sort_keys=True),
        "versions": ", ".join(f"{k} {v}" for k, v in r.versions.items()),
        "commands": "; ".join(_unique(x.command for x in results)),
        "measured": ", ".join(_unique(x.time for x in results)),
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


def _svg(data: bytes, alt: str, caption: str = "") -> Figure:
    return Figure(data=data, kind="svg+xml", alt=alt, caption=caption)


def _figure(r: Result) -> str:
    """``0.812 [0.771, 0.850]``."""
    return f"{r.value:.3f}" + (f" [{r.low:.3f}, {r.high:.3f}]" if r.low is not None and r.high is not None else "")


def _signed(r: Result) -> str:
    ends = f" [{r.low:+.3f}, {r.high:+.3f}]" if r.low is not None and r.high is not None else ""
    return f"{r.value:+.3f}{ends}"


def _difference(r: Result) -> Cell:
    return Cell(_signed(r), ("up" if r.value > 0 else "down") if r.excludes_zero else "")


def _rank(model: str) -> int:
    return ORDER.index(model) if model in ORDER else len(ORDER)


def _unique(items: Any) -> list[str]:
    return list(dict.fromkeys(items))


def terminal_tables(results: Sequence[Result], *, metric: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of the two tables that `imu-eval fewshot` prints: figures, and paired differences.

    A row is a domain, shot count and probe; the supervised reference, which has a head of its own, stands in every row
    of its domain and shots.
    """
    keys = list(dict.fromkeys((r.domain, r.shots, r.probe) for r in results if r.model == "pretrained" and r.shots))
    models = _unique(r.model for r in results if r.kind == "fewshot")
    references = _unique(str(r.reference) for r in results if r.kind == "fewshot-difference")
    held = {
        (r.kind, r.domain, r.shots, r.probe if r.model != "supervised" else None, r.reference or r.model): r
        for r in results
        if r.metric == metric
    }
    figures, differences = [], []
    for domain, shots, probe in keys:
        row = [domain, str(shots), str(probe)]
        cells = [held.get(("fewshot", domain, shots, probe if m != "supervised" else None, m)) for m in models]
        figures.append(
            row + [_figure(c) if i == 0 and c else f"{c.value:.3f}" if c else "" for i, c in enumerate(cells)]
        )
        found = [held.get(("fewshot-difference", domain, shots, probe, reference)) for reference in references]
        differences.append(row + [_signed(d) + (" *" if d.excludes_zero else "") if d else "" for d in found])
    level = f"{100 * results[0].level:.0f} %"
    words_ = ["domain", "shots", "probe"]
    tables = [(f"{words(metric)} of unseen people [{level} interval]", words_ + models, figures)]
    if references:
        title = f"pretrained minus reference, paired [{level} interval]; * = the interval excludes zero"
        tables.append((title, words_ + [f"minus {r}" for r in references], differences))
    return tables


def plain_table(results: Sequence[Result]) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows of the table that zero-shot and retrieval print; the first figure has its interval."""
    metrics = _unique(r.metric for r in results)
    last = "gallery" if results[0].kind == "retrieval" else "classes"
    rows = []
    for key in dict.fromkeys((r.domain, r.model, str(r.probe)) for r in results):
        line = {r.metric: r for r in results if (r.domain, r.model, str(r.probe)) == key}
        first = line[metrics[0]]
        size = str(first.details.get("gallery", len(first.details.get("classes", ()))))
        others = [f"{line[m].value:.3f}" for m in metrics[1:]]
        rows.append([*key, _figure(first), *others, f"{first.chance or 0:.3f}", str(first.subjects), size])
    names = [f"{words(metrics[0])} [{100 * results[0].level:.0f} %]", *map(words, metrics[1:])]
    columns = ["domain", "model", "probe", *names, f"chance {words(metrics[0])}", "people", last]
    return results[0].kind, columns, rows
