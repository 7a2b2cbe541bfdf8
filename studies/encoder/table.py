"""The table of results.md from result files: one row per data set, domain and number of shots; measures nothing.

Several files, as those of the candidates of a selection, are told apart by a first column.

python -P studies/encoder/table.py encoder-run/results-base.jsonl
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eval.results.lines import Result
from eval.results.store import read_results
from imu_video.errors import ConfigError
from imu_video.runtime import console

COLUMNS = ("data", "domain", "subjects", "shots", "encoder", "statistics", "untrained + statistics", "network alone")
ENCODER, STATISTICS, UNTRAINED, NETWORK = "pretrained", "handcrafted", "untrained", "network"


def rows(results: list[Result], metric: str) -> list[list[str]]:
    """One row for each data set, domain and number of shots, in the order of the file."""
    found: dict[tuple[str, str, int], dict[tuple[str, str | None], Result]] = {}
    for line in results:
        if line.metric == metric and line.probe == "ridge" and line.shots is not None:
            key = (str(line.data["dataset"]), str(line.domain), line.shots)
            found.setdefault(key, {})[line.model, line.reference] = line
    table = []
    for (dataset, domain, shots), lines in found.items():
        values = [lines.get((model, None)) for model in (ENCODER, STATISTICS, UNTRAINED, NETWORK)]
        gain = lines.get((ENCODER, STATISTICS))
        subjects = values[0].subjects if values[0] is not None else ""
        cells = ["" if value is None else f"{value.value:.3f}" for value in values]
        difference = "" if gain is None else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        table.append([dataset, domain, str(subjects), str(shots), *cells, difference])
    return table


def main(
    files: Annotated[list[Path], typer.Argument(help="Result files.")],
    metric: Annotated[str, typer.Option(help="Metric.")] = "macro_f1",
) -> None:
    """Print the table as Markdown, with a summary of the differences from the statistics."""
    found = {file: list(read_results([file])[0]) for file in files}
    tables = {file: rows(results, metric) for file, results in found.items()}
    if not any(tables.values()):
        raise ConfigError(f"no few-shot results with {metric} in {', '.join(map(str, files))}")
    several = len(files) > 1  # candidates of a selection: their rows are told apart by the names of the files
    header = [*(["file"] if several else []), *COLUMNS, "encoder minus statistics"]
    console.say(f"| {' | '.join(header)} |", f"|{'---|' * len(header)}")
    for file, table in tables.items():
        console.say(*(f"| {' | '.join([file.stem, *row] if several else row)} |" for row in table))
    for file, results in found.items():
        console.say(*(f"{file.stem}, {text}" if several else text for text in summary(results, metric)))


def summary(results: list[Result], metric: str) -> list[str]:
    """One line for each number of shots: the mean difference from the statistics, and its signs."""
    gains: dict[int, list[Result]] = {}
    for line in results:
        if _is_gain(line, metric) and line.shots is not None:
            gains.setdefault(line.shots, []).append(line)
    texts = []
    for shots, lines in sorted(gains.items()):
        mean = sum(line.value for line in lines) / len(lines)
        above = sum(line.low is not None and line.low > 0 for line in lines)
        below = sum(line.high is not None and line.high < 0 for line in lines)
        texts.append(
            f"{shots} shots, {len(lines)} rows: mean {mean:+.3f}, above 0 in {sum(line.value > 0 for line in lines)}, "
            f"interval above 0 in {above}, below 0 in {below}"
        )
    return texts


def _is_gain(line: Result, metric: str) -> bool:
    return (line.model, line.reference, line.metric) == (ENCODER, STATISTICS, metric) and line.probe == "ridge"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    console.run(app)
