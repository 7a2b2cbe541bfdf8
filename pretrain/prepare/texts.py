"""Texts of the windows of a run and their embeddings; how they are aligned with is the objective's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.shards.reading.columns import Columns
from imu_video.shards.schema import Index
from imu_video.teachers.activity_words import WORDS, activity_of
from imu_video.teachers.sentences import Phrasing, TextTable, embed_texts, fingerprint_of
from pretrain.config import TextSection


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Where texts come from: a built text encoder with its section.

    Args:
        section: complete: the encoder with all its arguments.
        encoder: the registered text encoder.
        width: W of its embeddings.
    """

    section: TextSection
    encoder: Any
    width: int

    @classmethod
    def open(cls, section: TextSection | None, indexes: Sequence[Index]) -> TextSource:
        """Build the text encoder, after checking that the data has texts.

        Args:
            section: section ``data.text``; None: its defaults.
            indexes: of all folders.

        Raises:
            ConfigError: no folder has labels or descriptions, or the encoder cannot be built.
        """
        section = section or TextSection()
        if not any(index.labels or section.description in index.tags for index in indexes):
            where = " and ".join(str(index.root) for index in indexes)
            raise ConfigError(
                f"an objective aligns windows with texts, but {where} has neither labels nor a tag "
                f"{section.description!r}",
                hint="leave the objective out, add a folder with labels, or name the tag: data.text.description=TAG",
            )
        entry = registry.text_encoders.entry(section.encoder)
        encoder = entry.build()
        width = int(encoder.encode(["walking"]).shape[1])
        return cls(section=section.model_copy(update={"encoder": entry.config}), encoder=encoder, width=width)

    def read(self, columns: Mapping[str, Sequence[Columns]]) -> WindowTexts:
        """Texts of the windows of every split.

        Args:
            columns: of each split, folder by folder.

        Raises:
            ConfigError: no window of the first split has a text, or all have the same one.
        """
        phrasing, tag = self.section.phrasing, self.section.description
        sentences: dict[str, list[str]] = {}
        codes: dict[str, list[np.ndarray]] = {}
        for split, folders in columns.items():
            named = [[_text_of(one, row, tag, phrasing) for row in range(len(one))] for one in folders]
            for own in (text for folder in named for text in folder if text is not None):
                sentences.setdefault(own[0], own[1])
            number = {name: i for i, name in enumerate(sentences)}
            codes[split] = [np.array([-1 if t is None else number[t[0]] for t in own], np.int64) for own in named]
        first = next(iter(codes))
        different = len(np.unique(np.concatenate([own[own >= 0] for own in codes[first]])))
        if different < 2:
            raise ConfigError(
                f"split {first!r}: its windows have {different} different texts: there is nothing to tell apart",
                hint="leave the objective out, or add folders with labels or descriptions",
            )
        # Prompts that need no text encoder after the run: common activities, and the labels of these data.
        labels = {phrasing.name_of(own) for folders in columns.values() for one in folders for own in one.labels if own}
        names = {**WORDS, **self.section.words, **dict.fromkeys(sorted(labels))}
        activities = {name: phrasing.sentences(name) for name in names}
        return WindowTexts(
            codes=codes,
            table=embed_texts(self.encoder, sentences),
            activities=embed_texts(self.encoder, activities),
            source=self,
        )


def _text_of(columns: Columns, row: int, tag: str | None, phrasing: Phrasing) -> tuple[str, list[str]] | None:
    """Name and sentences of a window's text; None without one."""
    description = columns.tags[row].get(tag, "").strip() if tag is not None else ""
    label = columns.labels[row]
    if not description:
        return None if not label else (phrasing.name_of(label), phrasing.sentences(phrasing.name_of(label)))
    # A description that is only the name of an activity shares the sentences of its labels.
    known = activity_of(description)
    return (description, [description]) if known is None else (known, phrasing.sentences(known))


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowTexts:
    """Texts of the windows of a run.

    Args:
        codes: of each split, folder by folder: (N,) numbers of texts in ``table``, -1 for a window without one.
        table: the K texts.
        activities: common activities, for prompts after the run.
        source: text encoder and section.
    """

    codes: Mapping[str, Sequence[np.ndarray]]
    table: TextTable
    activities: TextTable
    source: TextSource

    def summary(self, split: str) -> str:
        """Number of windows with a text, in words."""
        own = np.concatenate(self.codes[split])
        there = own >= 0
        return f"{there.sum()} of {len(own)} windows have one of {len(np.unique(own[there]))} texts"

    def facts(self) -> dict[str, Any]:
        """Text encoder, templates and texts, for lineage; a text head needs them after the run."""
        section = self.source.section
        return {
            "encoder": section.encoder,
            "fingerprint": fingerprint_of(self.source.encoder),
            "templates": list(section.templates),
            "words": {name: list(phrases) for name, phrases in section.words.items()},
            "texts": list(self.table.names),
            "activities": list(self.activities.names),
            "windows": {split: self.summary(split) for split in self.codes},
        }
