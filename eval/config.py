"""Config of few-shot, zero-shot and retrieval evaluation; YAML files: configs/eval. Nothing is loaded or run here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eval.data.splits import Domain, EpisodeConfig, Slice
from eval.finetune.config import NetworkConfig
from eval.results.intervals import Intervals
from imu_video.arguments import LARGEST_FLOAT, LARGEST_INTEGER, Count, Seed
from imu_video.config import Config

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]


class SupervisedConfig(NetworkConfig):
    """The reference that trains encoder and head on the support alone; its schedule is described in `NetworkConfig`.

    Args:
        episodes: number of episodes per domain; each costs a training, 0 disables the reference.
        domains, shots: restrict the reference to these domains and shot counts; None uses all.
    """

    episodes: int = Field(default=0, ge=0, le=10**6)
    domains: list[str] | None = None
    shots: list[Count] | None = None

    def wanted(self, domain: str, shots: int) -> bool:
        """Whether the reference runs in a domain at a shot count."""
        chosen = self.domains is None or domain in self.domains
        return self.episodes > 0 and chosen and (self.shots is None or shots in self.shots)


class FeatureReferences(Config):
    """Reference models that need no training, evaluated on the same windows as the encoder.

    Args:
        untrained_seeds: seeds of untrained encoders, whose figures are averaged; empty disables the reference.
        handcrafted: whether to evaluate hand-crafted features.
    """

    untrained_seeds: list[Seed] = Field(default=[0, 1, 2])
    handcrafted: bool = True

    def models(self, parts: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Names of the models of a table that need no labels, with the seeds of each, the encoder under test first.

        Args:
            parts: of the encoder (`EncoderBundle.parts`), each shown alone beside it.

        Example:
            >>> FeatureReferences(untrained_seeds=[0]).models([])
            {'pretrained': (), 'untrained': (0,), 'handcrafted': ()}
        """
        found: dict[str, tuple[int, ...]] = {"pretrained": (), **dict.fromkeys(parts, ())}
        found |= {"untrained": tuple(self.untrained_seeds)} if self.untrained_seeds else {}
        return found | ({"handcrafted": ()} if self.handcrafted else {})


class References(FeatureReferences):
    """Reference models, evaluated on the same episodes as the encoder.

    Args:
        untrained_seeds, handcrafted: see `FeatureReferences`.
        supervised: encoder and head trained from scratch on the support.
    """

    supervised: SupervisedConfig = SupervisedConfig()


class Probes(Config):
    """Probes of an evaluation, and their names in tables.

    Args:
        probes: entries of the probe registry: a name, or a mapping with ``name``, arguments and, to rename it, ``as``.
    """

    probes: list[str | dict[str, Any]] = Field(default=["prototype", "ridge"], min_length=1)

    @model_validator(mode="after")
    def _distinct_probes(self) -> Self:
        probes = self.probe_names
        if len(set(probes)) != len(probes):
            raise ValueError(f"probes must have distinct names, got {probes}; rename one with `as`")
        return self

    @property
    def probe_names(self) -> list[str]:
        """Name of each probe in tables: its ``as``, else its registered name."""
        return [p if isinstance(p, str) else str(p.get("as", p.get("name"))) for p in self.probes]

    @property
    def probe_entries(self) -> list[dict[str, Any]]:
        """Registry entry of each probe."""
        return [{"name": p} if isinstance(p, str) else {k: v for k, v in p.items() if k != "as"} for p in self.probes]


class TextPrompts(Config):
    """Text prototypes from class names.

    Args:
        templates: sentences that contain ``{label}``; a class is the mean of their embeddings. None: those of the
            encoder's text head, otherwise ``a person {label}`` and ``a video of a person {label}``.
        words: label -> replacement text; other labels are written with spaces for ``_``.
        encoder: None: the text head of the encoder, otherwise the text encoder of its own teacher. Otherwise an
            entry of the registry of text encoders (``sentence``): a ridge map from IMU features to its space is fitted
            on the ``seen`` classes of ``zeroshot.support``.
        seen: with ``encoder``: classes whose IMU labels fit the map; they are never query classes.
        ridge: with ``encoder``: strength of the map, above 0, in units of the mean eigenvalue of the features' Gram
            matrix.
        centre: with the teacher's text encoder: shift the mean of the prompts to the mean of the teacher's training
            features. Text and image embeddings differ by a nearly constant offset (Liang et al. 2022, arXiv
            2203.02053).
    """

    templates: list[str] | None = Field(default=None, min_length=1)
    words: dict[str, str] = Field(default_factory=dict)
    encoder: str | dict[str, Any] | None = None
    seen: list[str] = Field(default_factory=list)
    ridge: float = Field(default=1.0, gt=0, le=LARGEST_FLOAT)
    centre: bool = True

    @property
    def sentences(self) -> list[str]:
        """The templates for encoders without a text head."""
        return self.templates or ["a person {label}", "a video of a person {label}"]

    @model_validator(mode="after")
    def _complete(self) -> TextPrompts:
        wrong = [t for t in self.templates or () if "{label}" not in t]
        if wrong:
            raise ValueError(f"templates must contain {{label}}, got {wrong[0]!r}")
        if (self.encoder is not None) != (len(self.seen) >= 2):
            raise ValueError(
                f"`encoder` requires two or more `seen` classes, and only then, got {self.encoder!r} and {self.seen}"
            )
        return self


class ZeroShot(Config):
    """Class information of zero-shot classification, and the labels that it uses.

    Args:
        support: slice whose labels are used: with its videos (``video``, ``teacher``), with the IMU windows of the
            source folder (``source``) or of the seen classes (``text`` with an encoder); its subjects are never
            queries.
        anchors: ``video``: maximum number of videos per class, drawn with the episodes' seed; None uses all. At least
            16 are recommended.
        per_class: ``source``, ``teacher``, ``text``: maximum number of labelled windows per class for a probe, drawn
            round-robin over subjects.
        text: prompts.
    """

    support: Slice = Slice(split="train")
    anchors: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    per_class: int = Field(default=200, ge=1, le=LARGEST_INTEGER)
    text: TextPrompts = TextPrompts()


class Retrieval(Config):
    """Galleries of matched pairs: pairs per gallery, number of galleries, seed, cut-offs k."""

    gallery: int = Field(default=64, ge=2, le=10**6)
    galleries: int = Field(default=50, ge=1, le=10**6)
    seed: Seed = 0
    ks: list[Count] = Field(default=[1, 5, 10], min_length=1)


class EvalConfig(Probes):
    """A whole evaluation: domains, episodes, probes, references, intervals, zero-shot, retrieval.

    Args:
        domains: domains to evaluate.
        episodes: how episodes are drawn.
        probes: entries of the probe registry.
        references: reference models.
        metrics: figures to report.
        intervals: confidence intervals and tests.
        zeroshot: settings of zero-shot classification.
        retrieval: settings of the galleries.
        batch_size: windows per forward pass of an encoder.
    """

    domains: list[Domain] = Field(default=[Domain(name="people")], min_length=1)
    episodes: EpisodeConfig = EpisodeConfig()
    references: References = References()
    metrics: list[Metric] = Field(default=["accuracy", "balanced_accuracy", "macro_f1"], min_length=1)
    intervals: Intervals = Intervals()
    zeroshot: ZeroShot = ZeroShot()
    retrieval: Retrieval = Retrieval()
    batch_size: int = Field(default=256, ge=1, le=2**20)

    @model_validator(mode="after")
    def _distinct(self) -> EvalConfig:
        names = [d.name for d in self.domains]
        if len(set(names)) != len(names):
            raise ValueError(f"domain names must be distinct, got {names}")
        supervised = self.references.supervised
        unknown = [d for d in supervised.domains or () if d not in names]
        unknown += [str(n) for n in supervised.shots or () if n not in self.episodes.shots]
        if unknown:
            raise ValueError(f"references.supervised: {unknown} are not domains or shots of this config")
        return self

    @property
    def splits(self) -> list[str]:
        """Every split that a domain uses, in order of first use."""
        return list(dict.fromkeys(split for d in self.domains for split in d.all_splits))
