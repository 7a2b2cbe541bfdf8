"""Registered components as tables, facts and a documentation page; no data is read."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imu_video.errors import ConfigError, ImuVideoError
from imu_video.registry import Registry, datasets

WIDTH = 100
"""Maximum width of the table of datasets in characters, in a pipe and in a terminal."""

_HEADER = ("name", "Hz", "besides IMU", "placements", "labels", "licence")
_BEGIN, _END = "<!-- generated: python -m imu_video.cli.listing docs/reference/datasets.md -->", "<!-- end -->"
_CUT = {"placements": 22, "licence": 17}


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Class attributes of a dataset adapter; see `protocols.RecordingSource`.

    Args:
        name: registered name.
        summary: first sentence of its docstring.
        streams: possible streams of a recording: ``imu``, ``video``, ``skeleton``.
        placements: body positions of the devices; empty if the files determine them.
        labels: activities; empty if the files determine them, or if the dataset has none.
        rate_hz: nominal rates, from the slowest to the fastest device; empty if the files determine them.
        tested_on: data of the adapter's tests: ``real files`` or a ``made-up tree`` in the published layout.
        licence, citation, url: terms of the recordings; ``url`` is where to obtain them.
        arguments: constructor arguments with defaults.
    """

    name: str
    summary: str
    streams: tuple[str, ...]
    placements: tuple[str, ...]
    labels: tuple[str, ...]
    rate_hz: tuple[float, ...]
    tested_on: str
    licence: str
    citation: str
    url: str
    arguments: Mapping[str, str]


def dataset_facts(registry: Registry[Any]) -> list[DatasetFacts]:
    """Facts of every registered dataset, sorted by name."""
    return [facts_of(registry, name) for name in registry.names()]


def facts_of(registry: Registry[Any], name: str) -> DatasetFacts:
    """Facts of one dataset.

    Raises:
        ConfigError: unknown name.
    """
    cls = registry.get(name)

    def said(attribute: str, otherwise: Any) -> Any:
        value = getattr(cls, attribute, otherwise)
        return otherwise if isinstance(value, property) else value  # a property has a value per object, not per class

    return DatasetFacts(
        name=name,
        summary=summary(registry, name),
        streams=tuple(said("streams", ("imu",))),
        placements=tuple(said("placements", ())),
        labels=tuple(said("labels", ())),
        rate_hz=_rates(said("rate_hz", 0.0)),
        tested_on=str(said("tested_on", "real files")),
        licence=str(said("licence", "")),
        citation=str(said("citation", "")),
        url=str(said("url", "")),
        arguments=arguments(registry, name),
    )


def dataset_table(facts: list[DatasetFacts]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of `imu-video list datasets`, each row within `WIDTH` columns.

    Example:
        >>> from imu_video.registry import datasets
        >>> header, rows = dataset_table(dataset_facts(datasets))
        >>> header
        ('name', 'Hz', 'besides IMU', 'placements', 'labels', 'licence')
        >>> max(len("  ".join(row)) for row in rows) <= WIDTH
        True
    """
    rows = []
    for fact in facts:
        cells = {
            "name": fact.name,
            "Hz": _rate(tuple(round(rate) if rate >= 100 else rate for rate in fact.rate_hz)),
            "besides IMU": "+".join(s for s in fact.streams if s != "imu") or "-",
            "placements": _some(fact.placements, _CUT["placements"]),
            "labels": str(len(fact.labels)) if fact.labels else "-",
            "licence": _short(fact.licence, _CUT["licence"]),
        }
        rows.append(tuple(cells[column] for column in _HEADER))
    return _HEADER, rows


def dataset_lines(fact: DatasetFacts) -> list[tuple[str, str]]:
    """Name and value of every fact of one dataset, for `imu-video list datasets NAME`."""
    rate = f"{_rate(fact.rate_hz)} Hz" if fact.rate_hz else "as in the files"
    return [
        ("name", fact.name),
        ("what it is", fact.summary),
        ("streams", ", ".join(fact.streams)),
        ("rate", rate),
        ("placements", ", ".join(fact.placements) or "as in the files"),
        (f"labels ({len(fact.labels)})" if fact.labels else "labels", ", ".join(fact.labels) or "as in the files"),
        ("licence", fact.licence),
        ("citation", fact.citation),
        ("obtain", fact.url),
        ("tested on", fact.tested_on),
        ("arguments", ", ".join(f"{key}{value}" for key, value in fact.arguments.items()) or "none"),
    ]


def dataset_page(facts: list[DatasetFacts]) -> str:
    """The table of docs/reference/datasets.md as Markdown, with one line per dataset and the citations below it."""
    lines = [
        "| dataset | streams | Hz | placements | labels | licence | tested on |",
        "|---|---|---|---|---|---|---|",
    ]
    for fact in facts:
        labels = str(len(fact.labels)) if fact.labels else "-"
        placements = ", ".join(fact.placements) or "your own"
        name = f"[`{fact.name}`]({fact.url})" if fact.url.startswith("http") else f"`{fact.name}`"
        cells = (name, ", ".join(fact.streams), _rate(fact.rate_hz), placements, labels, fact.licence, fact.tested_on)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- `{fact.name}`: {fact.citation}" for fact in facts)]
    return "\n".join(lines) + "\n"


def encoder_table(registry: Registry[Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of `imu-video list encoders`, with the size and the arithmetic of the default arguments.

    Millions of multiplications are those of one window of six channels and 250 samples, 5 s at 50 Hz. An encoder that
    cannot be built, because it needs another package or an argument, has no numbers.
    """
    rows: list[tuple[str, ...]] = []
    for name in registry.names():
        found = next((c for device in ("meta", "cpu") if (c := _cost(registry, name, device)) is not None), None)
        numbers = ("-", "-", "-")
        if found is not None:
            numbers = (f"{found.parameters:,}", f"{found.macs / 1e6:.1f}", str(found.feature_dim))
        rows.append((name, *numbers, summary(registry, name), call(registry, name)))
    return ("name", "parameters", "M multiplications", "features", "description", "arguments"), rows


def _cost(registry: Registry[Any], name: str, device: str) -> Any:
    """Cost of an encoder with default arguments; without memory and arithmetic on ``meta``, where it can be built."""
    import torch

    from imu_video.encoders.cost import cost

    # Some layers have no operation on `meta`; there any failure leads to the second device, where it counts.
    refused = (ImuVideoError,) if device == "cpu" else (ImuVideoError, ValueError, TypeError, RuntimeError)
    try:
        with torch.device(device):
            return cost(registry.build(name))
    except refused:
        return None


def as_json(kind: str, registry: Registry[Any], name: str) -> dict[str, Any]:
    """One component as JSON: all facts of a dataset, otherwise description and arguments."""
    if kind == "datasets":
        return {"kind": kind, **asdict(facts_of(registry, name))}
    known = {
        "summary": summary(registry, name),
        "arguments": arguments(registry, name),
        "ranges": registry.ranges(name),
    }
    return {"kind": kind, "name": name, **known}


def with_page(document: str, facts: list[DatasetFacts]) -> str:
    """Regenerate the part of the document between the two markers.

    Raises:
        ConfigError: the document has no markers.
    """
    if _BEGIN not in document or _END not in document:
        raise ConfigError(f"the document has no lines {_BEGIN!r} and {_END!r}")
    before, after = document.split(_BEGIN)[0], document.split(_END)[-1]
    return f"{before}{_BEGIN}\n\n{dataset_page(facts)}\n{_END}{after}"


def components(registries: Mapping[str, Registry[Any]]) -> Iterator[tuple[str, Registry[Any], str]]:
    """(kind, registry, name) of every registered component."""
    for kind, registry in registries.items():
        for name in registry.names():
            yield kind, registry, name


def summary(registry: Registry[Any], name: str) -> str:
    """First line of the class's docstring."""
    doc = (registry.get(name).__doc__ or "").strip()
    return doc.splitlines()[0] if doc else ""


def description(registry: Registry[Any], name: str) -> str:
    """The whole docstring of a class."""
    return inspect.cleandoc(registry.get(name).__doc__ or "no description")


def arguments(registry: Registry[Any], name: str) -> dict[str, str]:
    """Constructor arguments: ``""`` for a required argument, ``"=default"`` otherwise; long defaults are truncated."""
    fields = registry.schema(name).model_fields
    return {key: "" if field.is_required() else f"={_short(repr(field.default), 60)}" for key, field in fields.items()}


def argument_rows(registry: Registry[Any], name: str) -> list[tuple[str, str, str]]:
    """Name, default and allowed values of every constructor argument, for `imu-video list KIND NAME`.

    Example:
        >>> from imu_video.registry import losses
        >>> argument_rows(losses, "info_nce")[:2]
        [('temperature', '0.07', 'at least 0.01'), ('learned', 'True', '')]
    """
    ranges = registry.ranges(name)
    defaults = arguments(registry, name)
    return [(key, value[1:] or "required", ranges.get(key, "")) for key, value in defaults.items()]


def call(registry: Registry[Any], name: str) -> str:
    """Constructor arguments in one line."""
    return ", ".join(f"{key}{value}" for key, value in arguments(registry, name).items())


def _rates(rate_hz: float | Mapping[str, float] | None) -> tuple[float, ...]:
    known = rate_hz.values() if isinstance(rate_hz, Mapping) else (rate_hz,)
    return tuple(sorted({float(rate) for rate in known if rate}))


def _rate(rates: tuple[float, ...]) -> str:
    return "..".join(f"{rate:g}" for rate in dict.fromkeys((rates[0], rates[-1]))) if rates else "varies"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."


def _some(words: tuple[str, ...], width: int) -> str:
    """As many words as fit into the width, and the number of omitted words."""
    if not words:
        return "-"
    for count in range(len(words), 0, -1):
        more = f" +{len(words) - count}" if count < len(words) else ""
        if count == 1 or len(", ".join(words[:count]) + more) <= width:
            return ", ".join(words[:count]) + more
    return ""


def main() -> None:
    """Write the generated part of the documents named on the command line."""
    facts = dataset_facts(datasets)
    for file in map(Path, sys.argv[1:]):
        file.write_text(with_page(file.read_text(encoding="utf-8"), facts), encoding="utf-8")


if __name__ == "__main__":
    main()
