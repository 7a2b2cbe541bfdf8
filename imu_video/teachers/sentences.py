"""Sentences for windows: from descriptions and activity labels to embedded sentences; the networks are in text.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.teachers.activity_words import WORDS, activity_of

TEMPLATES = ("{label}", "a person is {label}", "a person {label}, measured by a motion sensor")
"""Sentences around the words of an activity."""


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """How a text or an activity label becomes sentences.

    Args:
        templates: sentences in which ``{label}`` is replaced by words of an activity; a description stays as it is.
        words: label or activity -> its phrases, before those of `activity_words.WORDS`.

    Raises:
        ConfigError: no template, or one without ``{label}``.

    Example:
        >>> phrasing = Phrasing(templates=("a person is {label}",))
        >>> phrasing.name_of("walking_upstairs"), phrasing.sentences("stairs_up")[0]
        ('stairs_up', 'a person is walking upstairs')
        >>> phrasing.sentences("playing_chess")
        ['a person is playing chess']
    """

    templates: tuple[str, ...] = TEMPLATES
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.templates or any("{label}" not in template for template in self.templates):
            raise ConfigError(
                f"templates must contain {{label}}, got {list(self.templates)}", hint="templates: ['a person {label}']"
            )

    def name_of(self, label: str) -> str:
        """The activity of a label: labels of one activity, such as ``walk`` and ``walking``, share their sentences."""
        return label if label in self.words else activity_of(label) or label

    def sentences(self, name: str) -> list[str]:
        """Distinct sentences of an activity or label."""
        phrases = self.words.get(name) or WORDS.get(name) or (name.replace("_", " "),)
        return list(dict.fromkeys(t.replace("{label}", phrase) for phrase in phrases for t in self.templates))


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTable:
    """K texts with the embeddings of their sentences.

    Args:
        names: of the texts: activities, or descriptions.
        embedded: (S, W) unit-norm float32 of all sentences, one text after another.
        counts: (K,) int64 number of sentences of each text, at least 1.

    Raises:
        ValueError: counts that do not fit the sentences.

    Example:
        >>> table = TextTable(names=("sit", "walk"), embedded=torch.eye(3), counts=torch.tensor([1, 2]))
        >>> table.prototypes().shape
        torch.Size([2, 3])
    """

    names: tuple[str, ...]
    embedded: Tensor
    counts: Tensor

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.names) or int(self.counts.sum()) != len(self.embedded):
            raise ValueError(f"{len(self.names)} texts with {self.counts.tolist()} of {len(self.embedded)} sentences")

    @property
    def width(self) -> int:
        """W."""
        return int(self.embedded.shape[1])

    def prototypes(self) -> Tensor:
        """Unit means of the sentences of each text. Shapes: -> (K, W)."""
        return prototypes(self.embedded, self.counts)


def prototypes(embedded: Tensor, counts: Tensor) -> Tensor:
    """Unit means of consecutive groups of rows. Shapes: (S, W), (K,) -> (K, W)."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=embedded.device), counts)
    sums = embedded.new_zeros(len(counts), embedded.shape[1]).index_add_(0, owner, embedded)
    return F.normalize(sums, dim=-1)


def embed_texts(encoder: Any, texts: Mapping[str, Sequence[str]], *, batch_size: int = 64) -> TextTable:
    """Embed every distinct sentence once.

    Args:
        encoder: registered text encoder, with ``encode``.
        texts: name -> its sentences, at least one.
        batch_size: sentences per forward pass.

    Example:
        >>> class Toy:
        ...     def encode(self, texts): return torch.eye(3)[: len(texts)]
        >>> embed_texts(Toy(), {"walk": ["walking", "strolling"], "sit": ["sitting"]}).counts.tolist()
        [2, 1]
    """
    distinct = list(dict.fromkeys(sentence for own in texts.values() for sentence in own))
    # In order of length, so that a batch needs little padding.
    order = sorted(range(len(distinct)), key=lambda i: len(distinct[i]))
    rows: dict[str, Tensor] = {}
    for i in range(0, len(order), batch_size):
        some = [distinct[j] for j in order[i : i + batch_size]]
        rows |= dict(zip(some, encoder.encode(some), strict=True))
    return TextTable(
        names=tuple(texts),
        embedded=torch.stack([rows[sentence] for own in texts.values() for sentence in own]),
        counts=torch.tensor([len(own) for own in texts.values()]),
    )


def fingerprint_of(encoder: Any) -> str:
    """Twelve hex digits that identify a text encoder: its own ``fingerprint``, or a hash of what it embeds.

    Example:
        >>> class Toy:
        ...     def encode(self, texts): return torch.ones(len(texts), 4) / 2
        >>> len(fingerprint_of(Toy()))
        12
    """
    stated = getattr(encoder, "fingerprint", None)
    if stated is not None:
        return str(stated)
    rows = encoder.encode(["a person is walking", "sitting still"])
    return digest([[round(float(x), 4) for x in row] for row in rows])
