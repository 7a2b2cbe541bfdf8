"""Hash of a network's weights, one part of a teacher's fingerprint; base.py adds the other parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor


def hash_state(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of tensors, in order of their names."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()
