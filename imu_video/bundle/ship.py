"""Put an encoder into the package: folder, card and index of `imu_video/pretrained`; for maintainers, not for users.

    python -m imu_video.bundle.ship ENCODER FACTS.yaml

The file of facts has the keys of `Facts`. The command runs in a source checkout, where `import imu_video` is the
checkout itself; the changed files are then committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from imu_video.bundle import pretrained
from imu_video.bundle.card import render
from imu_video.bundle.encoder import CARD, load_encoder, read_config
from imu_video.bundle.folder import CONFIG, TEXT, WEIGHTS, config_text
from imu_video.bundle.input_spec import Accepts
from imu_video.bundle.pretrained import INDEX, FileName, Index, PretrainedEncoder, Source, Text, read_index
from imu_video.config import Config, load_config
from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.runtime.files import atomic_folder, file_sha256, write_atomic

MOST_BYTES = 6_000_000
"""Largest size of all shipped encoders together: every installation contains them."""
MOST_PARAMETERS = {f"{pretrained.OWNER}/small": 250_000}
"""Largest number of parameters of the encoders that are meant for small devices."""


class Facts(Config):
    """Facts of a shipped encoder that its folder does not contain.

    Args:
        name: ``imu-video/small``.
        summary: one sentence.
        licence: of the weights.
        sources: training data: name, https address, licence.
        command: command that trained it, from a clone of the repository.
        accepts: rates and lengths that it was trained for.
        evaluation: https address of the page with its results; shown on the card.
        limits: sentences about what was not tested, or where it is known to be worse; shown on the card.
        files: further files of the encoder folder that are shipped, such as a head; ``config.json``,
            ``model.safetensors`` and the text head always are.
    """

    name: str = Field(pattern=rf"^{pretrained.OWNER}/[a-z0-9][a-z0-9_-]*$")
    summary: Text
    licence: Text
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    command: Text
    accepts: Accepts | None = None
    evaluation: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None
    limits: tuple[Text, ...] = ()
    files: tuple[FileName, ...] = ()


def ship(encoder: str | Path, facts: Facts, *, root: Path | None = None) -> PretrainedEncoder:
    """Copy an exported encoder into the folder of shipped encoders and enter it into the index.

    The lineage of the copy states the sources and the licence, and its card shows them. An encoder of the same name is
    replaced.

    Args:
        encoder: exported encoder folder; it is loaded once first.
        facts: name, summary, licence, sources, command.
        root: folder with an `index.json`; None: that of the package.

    Raises:
        CheckpointError: a damaged encoder, or a damaged index.
        ConfigError: a local path in the lineage, a missing file, more than `MOST_PARAMETERS`, or more than `MOST_BYTES`
            in total.
    """
    base = pretrained.ROOT if root is None else root
    bundle = load_encoder(encoder)
    config = read_config(encoder)
    sources = TypeAdapter(tuple[Source, ...]).dump_python(facts.sources, mode="json")
    config["lineage"] = {**config["lineage"], "sources": sources, "trained with": facts.command}
    if facts.evaluation is not None:
        config["lineage"]["evaluation"] = facts.evaluation
    if facts.limits:
        config["lineage"]["limits"] = list(facts.limits)
    if facts.accepts is not None:
        config["input"] = {**config["input"], "accepts": facts.accepts.model_dump(mode="json")}
    config["lineage"]["licences"] = {"weights": facts.licence, **_licences(config["lineage"].get("licences"))}
    parameters = sum(p.numel() for p in bundle.encoder.parameters())
    if parameters > MOST_PARAMETERS.get(facts.name, parameters):
        raise ConfigError(
            f"{facts.name} would have {parameters:,} parameters, at most {MOST_PARAMETERS[facts.name]:,}",
            hint="ship a smaller encoder under this name",
        )
    local = next(_local_paths(config, ""), None)
    if local is not None:
        raise ConfigError(
            f"{encoder}: {local[0]} is the path {local[1]!r} of this machine",
            hint="train with relative paths, so that the shipped lineage is the same everywhere",
        )
    target = base / facts.name.partition("/")[2]
    with atomic_folder(target, replace=True) as temporary:
        for name in dict.fromkeys([WEIGHTS, *([TEXT] if "text" in config else []), *facts.files]):
            if not (Path(encoder) / name).is_file():
                raise ConfigError(f"{encoder}: no file {name!r}", hint="correct `files` in the facts")
            (temporary / name).write_bytes((Path(encoder) / name).read_bytes())
        (temporary / CONFIG).write_text(config_text(config), encoding="utf-8")
        (temporary / CARD).write_text(render(config, name=facts.name, summary=facts.summary), encoding="utf-8")
        files = sorted(temporary.iterdir())
        record = PretrainedEncoder(
            name=facts.name,
            summary=facts.summary,
            parameters=parameters,
            size_bytes=sum(file.stat().st_size for file in files),
            feature_dim=bundle.feature_dim,
            licence=facts.licence,
            sources=facts.sources,
            command=facts.command,
            sha256={file.name: file_sha256(file) for file in files},
        )
        others = [one for one in read_index(base).encoders if one.name != facts.name]
        total = record.size_bytes + sum(one.size_bytes for one in others)
        if total > MOST_BYTES:
            raise ConfigError(
                f"shipped encoders would have {total / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:g} MB are shipped",
                hint="ship a smaller encoder",
            )
    load_encoder(target)
    index = Index(encoders=tuple(sorted([*others, record], key=lambda one: one.parameters)))
    write_atomic(base / INDEX, json.dumps(TypeAdapter(Index).dump_python(index, mode="json"), indent=2) + "\n")
    return record


def _licences(known: Any) -> dict[str, Any]:
    if isinstance(known, Mapping):
        return dict(known)
    return {} if known is None else {"recordings": known}


def _local_paths(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and value of every text that is an absolute path or one in a home folder."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _local_paths(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, item in enumerate(value):
            yield from _local_paths(item, f"{key}[{number}]")
    elif isinstance(value, str) and (value.startswith(("~/", "file:")) or Path(value).is_absolute()):
        yield key, value


def main() -> None:
    """Entry point of ``python -m imu_video.bundle.ship``."""

    def run() -> None:
        if len(sys.argv) != 3:
            raise ConfigError(
                f"expected ENCODER FACTS.yaml, got {' '.join(sys.argv[1:]) or 'nothing'}",
                hint="python -m imu_video.bundle.ship encoders/small small.yaml",
            )
        record = ship(sys.argv[1], load_config(sys.argv[2], Facts))
        console.say(str(record), *(f"{digest}  {name}" for name, digest in record.sha256.items()))

    console.run(run)


if __name__ == "__main__":
    main()
