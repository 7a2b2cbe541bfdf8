"""Encoders of one recipe that differ in the pretraining seed alone; reads their folders and loads no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imu_video.bundle.encoder import read_config
from imu_video.bundle.locate import encoder_folder, name_of
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.types import JsonDict

SEED = "seed"
"""Key of the pretraining config that may differ."""


def encoder_folders(path: Path) -> list[Path]:
    """An encoder folder itself, or the encoder folders inside, sorted: one per seed.

    Args:
        path: a folder; a shipped name or a repository on the hub, see `imu_video.bundle.locate.encoder_folder`; or an
            ONNX file of `imu-video export`, which stays the file.

    Raises:
        ConfigError: neither.
        CheckpointError: a name that cannot be resolved.
    """
    if is_onnx(path):
        return [path]
    path = encoder_folder(path)
    if (path / "config.json").is_file():
        return [path]
    inside = sorted(p.parent for p in path.glob("*/config.json"))
    if not inside:
        raise ConfigError(
            f"{path}: neither an encoder folder nor a folder of encoder folders",
            hint="`imu-pretrain export` writes encoder folders",
        )
    return inside


def is_onnx(path: Path) -> bool:
    """Whether a path names an exported ONNX file."""
    return path.suffix.lower() == ".onnx" and path.is_file()


def open_encoder(path: Path) -> WindowEncoder:
    """The encoder of a folder, or that of an exported ONNX file; for protocols that use its features only.

    Raises:
        CheckpointError: damaged, or not an export.
    """
    if is_onnx(path):
        from imu_video.export.runtime import load_onnx

        return load_onnx(path)
    from imu_video.bundle.encoder import load_encoder

    return load_encoder(path)


def _facts(path: Path) -> JsonDict:
    if is_onnx(path):
        from imu_video.export.runtime import read_facts

        return read_facts(path)
    return read_config(path)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One encoder, or several that differ in the pretraining seed.

    Args:
        name: in tables.
        folders: encoder folders, or ONNX files.
        facts: content of each config.json.
        seeds: pretraining seed of each; empty for one encoder.
    """

    name: str
    folders: tuple[Path, ...]
    facts: tuple[Mapping[str, Any], ...]
    seeds: tuple[int, ...] = ()

    @property
    def weights(self) -> list[str]:
        """First 12 digits of each digest of the weights."""
        return [str(f["weights_sha256"])[:12] for f in self.facts]

    @property
    def provenance(self) -> dict[str, Any]:
        """The field ``encoder`` of result lines; with several encoders their seeds and weights as well."""
        ids = [f["lineage"].get("run_id") for f in self.facts]
        one = len(self.folders) == 1
        return {
            "name": self.name,
            "weights": self.weights[0] if one else digest(self.weights)[:12],
            "architecture": self.facts[0]["encoder"],
            "run_id": ids[0] if one else ids,
            **({} if one else {"pretraining": {"seeds": list(self.seeds), "weights": self.weights}}),
        }


def read_recipe(path: Path, also: Sequence[Path] = ()) -> Recipe:
    """The encoders of a folder and of further paths.

    Args:
        path: encoder folder, or a folder of encoder folders.
        also: further ones.

    Raises:
        CheckpointError: a folder is not a valid export.
        ConfigError: encoders that differ in more than the pretraining seed, have the same seed
            or weights, or do not state their seed.
    """
    folders = tuple(folder for p in (path, *also) for folder in encoder_folders(p))
    facts = tuple(_facts(folder) for folder in folders)
    name = name_of(path)
    if len(folders) == 1:
        return Recipe(name=name, folders=folders, facts=facts)
    return Recipe(name=name, folders=folders, facts=facts, seeds=tuple(_seeds(folders, facts)))


def _seeds(folders: Sequence[Path], facts: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """The pretraining seed of each encoder, after the comparison with the first one."""
    for folder, own in zip(folders, facts, strict=True):
        _check_mappings(folder, own)
    first = _flat(facts[0])
    held: dict[int, Path] = {}
    weights: dict[str, Path] = {}
    for folder, own in zip(folders, facts, strict=True):
        seed = (own["lineage"].get("config") or {}).get(SEED)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError(
                f"{folder}: lineage.config.{SEED} is {seed!r}, expected the pretraining seed",
                hint=f"evaluate {folder} alone",
            )
        flat = _flat(own)
        changed = sorted(key for key in first.keys() | flat.keys() if first.get(key) != flat.get(key))
        if changed:
            shown = "; ".join(f"{key}: {first.get(key)!r} and {flat.get(key)!r}" for key in changed[:5])
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise ConfigError(
                f"{folders[0]} and {folder} differ in more than the pretraining seed: {shown}{more}",
                hint="pass only encoders of one recipe; compare recipes with `imu-eval fewshot --against`",
            )
        if seed in held:
            raise ConfigError(
                f"{held[seed]} and {folder} have the same pretraining seed {seed}", hint="pass each seed once"
            )
        twin = weights.setdefault(str(own["weights_sha256"]), folder)
        if twin != folder:
            raise ConfigError(
                f"{twin} and {folder} have the same weights, but state the pretraining seeds "
                f"{facts[folders.index(twin)]['lineage']['config'][SEED]} and {seed}",
                hint="export each run again",
            )
        held[seed] = folder
        yield seed


def _check_mappings(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a folder whose facts, which anyone may edit, have another form.

    Raises:
        ConfigError: naming the key and the value.
    """
    lineage = facts["lineage"]
    found = {"lineage": lineage, "encoder": facts["encoder"], "input": facts.get("input", {})}
    if isinstance(lineage, Mapping):
        found |= {f"lineage.{key}": lineage.get(key) or {} for key in ("config", "dataset", "teacher")}
    for key, value in found.items():
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{folder}: {key} is {value!r:.80}, expected a mapping of keys", hint=f"export {folder} again"
            )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What encoders of one recipe share; the chosen step, machines and scales of the input may differ."""
    lineage = facts["lineage"]
    out = {f"config.{key}": value for key, value in (lineage.get("config") or {}).items() if key != SEED}
    out |= {f"encoder.{key}": value for key, value in facts["encoder"].items()}
    out["control"] = lineage.get("control")
    out["dataset.digest"] = (lineage.get("dataset") or {}).get("digest")
    out["teacher.fingerprint"] = (lineage.get("teacher") or {}).get("fingerprint")
    found = facts.get("input", {})
    out |= {f"input.{key}": found.get(key) for key in ("channels", "rate_hz", "window_s")}
    # Folders of earlier versions do not state the last one.
    out |= {"input.gravity": found.get("gravity", "included"), "input.normalised": found.get("normalised", "none")}
    return out
