"""Checkpoints of other projects as named tensors, read without executing code in them; no network is built."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imu_video.errors import CheckpointError
from imu_video.runtime import documents
from imu_video.runtime.content import shorten, shown
from imu_video.types import JsonDict

CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Weights in a folder, in the order of preference."""
STATE = "state_dict"
"""Key of the weights in a checkpoint of a trainer."""

_EXTRACT = """\
import sys, torch; from safetensors.torch import save_file; \
from torch.serialization import get_unsafe_globals_in_checkpoint as named, safe_globals; \
inert = [(type("Inert", (), {"__init__": lambda self, *a, **k: None}), name) for name in named(sys.argv[1])]; \
d = safe_globals(inert).__enter__() or torch.load(sys.argv[1], map_location="cpu", weights_only=True); \
d = d.get("state_dict", d); \
save_file({k: v.clone() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])"""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors of a checkpoint by name.

    Args:
        file: the file with the weights.
        sha256: hash of that file.
        tensors: name -> tensor, as stored.
        config: content of a ``config.json`` beside the weights; None for a single file.

    Example:
        >>> found = Checkpoint(file=Path("a.pt"), sha256="", tensors={"module.bias": torch.zeros(2)}, config=None)
        >>> found.under("module."), found.shape("module.bias")
        ({'bias': 'module.bias'}, (2,))
    """

    file: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    config: JsonDict | None

    def under(self, prefix: str) -> dict[str, str]:
        """Names that start with a prefix: without it -> complete."""
        return {name.removeprefix(prefix): name for name in self.tensors if name.startswith(prefix)}

    def shape(self, name: str, axes: int | None = None) -> tuple[int, ...]:
        """Shape of a tensor from which an argument of the network is read.

        Args:
            name: complete name.
            axes: expected number of axes, each of at least one entry; None: any.

        Raises:
            CheckpointError: no such tensor, or another number of axes.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.file}: no tensor {name!r}; {self.summary()}")
        found = tuple(self.tensors[name].shape)
        if axes is not None and (len(found) != axes or 0 in found):
            raise CheckpointError(f"{self.file}: tensor {name!r} has shape {found}, expected {axes} axes")
        return found

    def summary(self) -> str:
        """The names of the checkpoint, a few of them, for an error."""
        return f"it contains {len(self.tensors)} tensors: {listed(list(self.tensors))}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for an error, the first few of many.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    kept = ", ".join(shorten(name, 80) for name in names[:most])
    return kept if len(names) <= most else f"{kept} and {len(names) - most} more"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint: a folder written by ``save_pretrained``, a safetensors file or a file of ``torch.save``.

    A file of ``torch.save`` is read with ``weights_only=True``, which accepts tensors and plain values and executes
    nothing. In a checkpoint of a trainer, the weights are those under ``state_dict``.

    Args:
        path: file, or folder with ``config.json`` and weights.

    Raises:
        CheckpointError: no such file or folder, damaged, or stored in a way that needs code to read it.

    Example:
        ``read_checkpoint("mtl_best.mdl").tensors``
    """
    source = Path(path)
    config: JsonDict | None = None
    file = source
    if source.is_dir():
        file = _weights_of(source)
        found = documents.read_json(source / CONFIG, error=CheckpointError, finite=False)
        if not isinstance(found, dict):
            raise CheckpointError(f"{source / CONFIG}: expected a mapping of keys (got {shown(found)})")
        config = found
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from error
    # A safetensors file starts with the length of its header in 8 bytes and the header, a JSON object.
    content = _safetensors(data, file) if data[8:9] == b"{" else _torch(data, file)
    return Checkpoint(file=file, sha256=hashlib.sha256(data).hexdigest(), tensors=_state(content, file), config=config)


def _weights_of(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    if any((folder / f"{name}.index.json").is_file() for name in FILES):
        raise CheckpointError(
            f"{folder}: the weights are stored in several files, expected {FILES[0]}",
            hint="save them in one file: model.save_pretrained(FOLDER, max_shard_size='100GB')",
        )
    raise CheckpointError(
        f"{folder}: no {' and no '.join(FILES)}", hint="name a folder written by save_pretrained, or a checkpoint file"
    )


def _safetensors(data: bytes, file: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file: {error}", hint=_AGAIN) from error


def _torch(data: bytes, file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of the format; what cannot be read is an error
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = sorted(set(re.findall(r"GLOBAL (\S+)", str(error))) | set(_globals(data)))
        if named:
            raise CheckpointError(
                f"{file}: reading it would execute code, because it stores objects besides tensors and plain values: "
                f"{listed(named)}",
                hint="use a file with the weights only"
                + (
                    f", or extract them, with placeholders for these objects: {extraction(file)}"
                    if _inert(data)
                    else ""
                ),
            ) from error
        raise _unreadable(file, error) from error
    except Exception as error:  # a damaged file ends in errors of many types
        raise _unreadable(file, error) from error


def _globals(data: bytes) -> list[str]:
    try:
        return list(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))
    except Exception:  # files of another format or damaged ones have no list
        return []


def _inert(data: bytes) -> bool:
    """Whether torch reads the tensors once every object is a placeholder; it always refuses functions of the system."""
    named = _globals(data)
    return bool(named) and not any(name.partition(".")[0] in ("nt", "os", "posix", "sys") for name in named)


def extraction(file: Path) -> str:
    """Command that writes the tensors of a checkpoint as safetensors; objects become placeholders, no code is run."""
    return f"python -P -c {shlex.quote(_EXTRACT)} {shlex.quote(str(file))} {shlex.quote(f'{file.stem}.safetensors')}"


_AGAIN = "copy or download the file again"


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines()
    why = f"{type(error).__name__}: {lines[0]}" if lines and len(lines[0]) < 200 else type(error).__name__
    return CheckpointError(f"{file}: neither a safetensors file nor a readable file of torch.save ({why})", hint=_AGAIN)


def _state(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get(STATE), Mapping):
        content = content[STATE]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{file}: expected tensors by name, or a mapping with the key {STATE!r} (got {shown(type(content))})"
        )
    wrong = [str(name) for name, value in content.items() if not isinstance(name, str) or not torch.is_tensor(value)]
    if wrong:
        raise CheckpointError(
            f"{file}: expected tensors by name; no tensors: {listed(wrong)}",
            hint=f"save model.state_dict(), or a mapping with the key {STATE!r}",
        )
    return dict(content)
