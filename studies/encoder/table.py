"""The table of results.md from result files: one row per data set, domain and number of shots; measures nothing.

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
    results, _ = read_results(files)
    table = rows(list(results), metric)
    if not table:
        raise ConfigError(f"no few-shot results with {metric} in {', '.join(map(str, files))}")
    header = [*COLUMNS, "encoder minus statistics"]
    console.say(f"| {' | '.join(header)} |", f"|{'---|' * len(header)}")
    console.say(*(f"| {' | '.join(row)} |" for row in table))
    gains = {
        shots: [line for line in results if _is_gain(line, metric) and line.shots == shots]
        for shots in sorted({line.shots for line in results if _is_gain(line, metric)}, key=lambda k: k or 0)
    }
    for shots, lines in gains.items():
        mean = sum(line.value for line in lines) / len(lines)
        above = sum(line.low is not None and line.low > 0 for line in lines)
        below = sum(line.high is not None and line.high < 0 for line in lines)
        console.say(
            f"{shots} shots, {len(lines)} rows: mean {mean:+.3f}, above 0 in {sum(line.value > 0 for line in lines)}, "
            f"interval above 0 in {above}, below 0 in {below}"
        )


def _is_gain(line: Result, metric: str) -> bool:
    return (line.model, line.reference, line.metric) == (ENCODER, STATISTICS, metric) and line.probe == "ridge"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    console.run(app)
