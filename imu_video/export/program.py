"""A traced encoder as a program of torch.export: bytes of a file, and the file as an encoder; no ONNX."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.export.graph import Graph, quiet

FACTS = "imu_video.json"
"""Extra file of the program with the facts of the encoder."""


class ProgramEncoder(WindowEncoder):
    """A program with the interface of the encoder that it was traced from.

    Args:
        program: ``torch.export.ExportedProgram``.
        bundle: the encoder, for its facts.
    """

    def __init__(self, program: Any, bundle: EncoderBundle) -> None:
        # Tracing also notes comparisons of lengths that hold for the traced window only, but on which no operator
        # depends; the comparison with the encoder covers other lengths.
        self._module = program.module(check_guards=False)
        self.spec, self.feature_dim = bundle.spec, bundle.feature_dim
        self.encoder_config, self.lineage, self.weights_sha256 = bundle.encoder_config, bundle.lineage, ""

    @torch.no_grad()
    def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        features: np.ndarray = self._module(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        return features


def program_bytes(graph: Graph, facts: Mapping[str, Any]) -> bytes:
    """Content of a file that ``torch.export.load`` reads."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(graph.program, buffer, extra_files={FACTS: json.dumps(facts, allow_nan=False)})
    return buffer.getvalue()


def open_program(data: bytes, bundle: EncoderBundle) -> ProgramEncoder:
    """Load a program that was just written, for its comparison with the encoder."""
    with quiet():
        return ProgramEncoder(torch.export.load(io.BytesIO(data)), bundle)
