"""Folder format of exported networks: `config.json` and `model.safetensors`; the networks are defined by the callers.

Encoders of all modalities are stored in the same way. The config contains the format, its version and the hash of the
weights, so that a damaged, incomplete or foreign folder is rejected before a network is built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from imu_video.errors import CheckpointError
from imu_video.runtime import documents
from imu_video.types import JsonDict

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TEXT = "text.safetensors"
"""Weights of the text head, in the folders of encoders that have one."""


@dataclass(frozen=True, kw_only=True)
class FolderFormat:
    """A kind of exported folder.

    Args:
        name: the key ``format`` of its config.json.
        version: the key ``format_version``.
        what: noun for messages: ``encoder``.
        command: command that writes folders of this kind, for hints.
        required: keys of config.json besides ``format``, ``format_version`` and ``weights_sha256``.

    Example:
        >>> import tempfile
        >>> kind = FolderFormat(name="demo", version=1, what="demo", command="make demo", required=("width",))
        >>> folder = Path(tempfile.mkdtemp())
        >>> config, weights = kind.pack({"width": 2}, nn.Linear(2, 1), origin={})
        >>> _ = (folder / WEIGHTS).write_bytes(weights), (folder / CONFIG).write_text(config_text(config))
        >>> config, weights = kind.read(folder)
        >>> config["width"], sorted(weights)
        (2, ['bias', 'weight'])
    """

    name: str
    version: int
    what: str
    command: str
    required: tuple[str, ...]

    def pack(
        self, facts: Mapping[str, Any], network: nn.Module, *, origin: Mapping[str, Any]
    ) -> tuple[JsonDict, bytes]:
        """Content of config.json, and the bytes of the weights.

        Args:
            facts: arguments that rebuild the network; JSON values only.
            network: network whose weights are stored.
            origin: origin of the weights; stored last, because it is long.
        """
        from safetensors.torch import save

        # safetensors rejects tensors that share storage; clones have their own.
        state = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
        weights = save(state, metadata={"format": "pt"})
        named = {"format": self.name, "format_version": self.version}
        return {**named, **facts, "weights_sha256": hashlib.sha256(weights).hexdigest(), **origin}, weights

    def read_config(self, folder: str | Path) -> JsonDict:
        """Read and check config.json; weights are not read.

        Raises:
            CheckpointError: no such file, not JSON, another format or version, or missing keys.
        """
        path = Path(folder) / CONFIG
        try:
            config = documents.read_json(path, error=CheckpointError, hint="copy or export the folder again")
        except CheckpointError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            if (Path(folder) / "checkpoints").is_dir():  # made by `imu-pretrain launch`
                raise CheckpointError(
                    f"{folder} is a run folder, not {_a(self.what)} folder",
                    hint=f"export it: {self.command.replace('RUN', str(folder))}",
                ) from error
            raise CheckpointError(error.message, hint=f"`{self.command}` writes {_a(self.what)} folder") from error
        if not isinstance(config, dict) or config.get("format") != self.name:
            raise CheckpointError(f"{path}: not an imu-video {self.what}", hint=f"`{self.command}` writes one")
        if config.get("format_version") != self.version:
            raise CheckpointError(
                f"{path}: format version {config.get('format_version')!r}, expected {self.version}",
                hint="install the imu-video version that wrote the folder, or export the run again",
            )
        missing = {"weights_sha256", *self.required} - set(config)
        if missing:
            raise CheckpointError(f"{path}: keys missing: {', '.join(sorted(missing))}", hint="export the run again")
        return config

    def read(self, folder: str | Path) -> tuple[JsonDict, dict[str, Tensor]]:
        """Read and check the config and the weights.

        Raises:
            CheckpointError: as for `read_config`; the weights are missing or do not match the hash in config.json.
        """
        config, path = self.read_config(folder), Path(folder) / WEIGHTS
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}", hint="export the run again") from error
        # The bytes in memory are hashed and then parsed, so that no other process can replace the file in between.
        found, expected = hashlib.sha256(data).hexdigest(), str(config["weights_sha256"])
        if found != expected:
            raise CheckpointError(
                f"{path}: sha256 is {found[:12]}, config.json expects {expected[:12]}",
                hint="copy or download the whole folder again",
            )
        return config, tensors_of(data, path)


def tensors_of(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the content of a safetensors file.

    Raises:
        CheckpointError: other content; the message names ``path``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a safetensors file: {error}", hint="copy or export the folder again"
        ) from error


def config_text(config: Mapping[str, Any]) -> str:
    """Text of config.json for a config."""
    return json.dumps(config, indent=2, allow_nan=False) + "\n"


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], *, folder: str | Path, built_from: object) -> None:
    """Load weights into the network that was built from the config.

    Args:
        network: changed in place.
        weights: name -> tensor.
        folder: where the weights were read, for the error.
        built_from: what the network was built from, for the error.

    Raises:
        CheckpointError: names or shapes of the weights do not match the network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{Path(folder) / WEIGHTS} does not fit {built_from}: {error}") from error


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
