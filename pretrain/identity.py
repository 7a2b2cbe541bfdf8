"""The identity of a run: the keys of its config that influence the weights, and the run id made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imu_video.config import digest
from imu_video.runtime.references import protected, same
from pretrain.config import PretrainConfig

_PATH = re.compile(r"data\.root\.\d+\.root")
_FOLDER_AUGMENT = re.compile(r"data\.root\.\d+\.augment")
_FOLDER_PAIRED = re.compile(r"data\.root\.\d+\.paired")

# Keys that a resumed run may change: they do not influence the weights.
_FREE = {
    "name",
    "data.root",
    "data.workers",
    "init.encoder",  # its weights count, see `identity`
    "continues.run",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep",
    "run.device",
    "run.tracker",
    "run.threads",
}


# Keys of the sections that were added when runs existed, with the value that stands for what runs did before: with that
# value they are left out of the identity. (Arguments of components: `imu_video.arguments.LATER`.)
_LATER: dict[str, Any] = {
    "data.control": "none",
    "data.pair": "window",
    "data.weighting": "none",
    "data.subjects_per_batch": None,
    "data.normalise": "sensors",
    "data.text": None,
    "init": None,
    "init.normalise": "keep",
    "continues": None,
    "augment_on": "si",
    "augment_first": True,
    "projector.hidden": None,
    "projector.pair_head": "shared",
    "optim.algorithm": "adamw",
    "optim.decayed": "matrices",
    "optim.end": "last",
    "optim.plateau": None,
}

_CODE = "code ("


def identity(
    config: PretrainConfig, *, data: str, code: Mapping[str, str] = MappingProxyType({}), init: str | None = None
) -> dict[str, Any]:
    """Dotted keys and values that a resumed run must share: all but paths, worker and logging counts.

    Keys that earlier versions did not have (such as ``data.control``) are included only where they change a run.

    Args:
        config: resolved config.
        data: digest of the data folder's index; it replaces the path.
        code: hash of the source of every component from a plugin, by its kind and name.
        init: hash of the initial weights, which replaces the path of their encoder; None for random weights.

    Example:
        >>> c = PretrainConfig.model_validate({"data": {"root": "d"}, "optim": {"steps": 3}})
        >>> identity(c, data="abc")["optim.steps"], "data.root" in identity(c, data="abc")
        (3, False)
    """
    flat = {k: v for k, v in flatten(config.model_dump(mode="json")) if k not in _FREE and not _PATH.fullmatch(k)}
    flat = {k: v for k, v in flat.items() if k not in _LATER or v != _LATER[k]}
    flat = {k: v for k, v in flat.items() if not (_FOLDER_AUGMENT.fullmatch(k) and v is None)}
    flat = {k: v for k, v in flat.items() if not (_FOLDER_PAIRED.fullmatch(k) and v is True)}
    weights = {} if init is None else {"init (weights sha256)": init}
    code_of = {f"{_CODE}{name})": hashed for name, hashed in code.items()}
    return {**flat, "data (index digest)": data, **weights, **code_of}


def run_id(of: Mapping[str, Any]) -> str:
    """Digest of an `identity`, without the code of plugins.

    The same command thus finds its run folder after a plugin was edited, and the difference is reported there.
    """
    return digest({key: value for key, value in of.items() if not key.startswith(_CODE)})


def stored(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it is stored: values of environment variables as references, see `references.protected`."""
    return protected(identity, keep=("data.train_split", "data.val_split"))  # evaluation compares their names


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lines ``key: saved -> now`` for every key of two identities that differs.

    Code of plugins that was not saved is no difference: earlier versions did not record it.

    Example:
        >>> differences({"optim.lr": 0.1, "seed": 0}, {"optim.lr": 0.2, "seed": 0})
        ['optim.lr: 0.1 -> 0.2']
    """
    missing = "(absent)"
    keys = sorted({*saved, *now})
    return [
        f"{key}: {saved.get(key, missing)} -> {now.get(key, missing)}"
        for key in keys
        if not same(saved.get(key, missing), now.get(key, missing)) and not (key.startswith(_CODE) and key not in saved)
    ]


def flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and values of nested mappings; lists of mappings by index.

    Example:
        >>> flatten({"a": {"b": 1}, "c": [{"d": 2}], "e": [3]})
        [('a.b', 1), ('c.0.d', 2), ('e', [3])]
    """
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return [pair for i, v in enumerate(value) for pair in flatten(v, f"{prefix}.{i}")]
    return [(prefix, value)]
