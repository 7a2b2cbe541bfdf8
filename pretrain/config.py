"""The pretraining config: its sections; no component is built here, and `pretrain.identity` names a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from imu_video.arguments import LARGEST_FLOAT, LARGEST_INTEGER, BelowOne, Seed
from imu_video.bundle.input_spec import Normalise
from imu_video.config import DISTINCT, Config, Fragment, PathText
from imu_video.optim.groups import Algorithm, Decayed
from imu_video.optim.schedule import Decay, End
from imu_video.shards.batches.loader import Pairs
from imu_video.teachers.sentences import TEMPLATES, Phrasing


def _named(entry: Any) -> Any:
    return {"name": entry} if isinstance(entry, str) else entry


def _has_name(entry: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(entry.get("name"), str):
        raise ValueError("a component entry needs a 'name'; `imu-video list` lists the names")
    return entry


Component = Annotated[dict[str, Any], BeforeValidator(_named), AfterValidator(_has_name), Fragment()]
"""``{name: ..., argument: value, ...}`` of a component, its name alone, or the path of a YAML file with it."""


DIM = 128
"""Default embedding width D."""

NO_TEACHER = "none"
"""``data.teacher`` of a run without a teacher."""

LIVE_TEACHER = "live"
"""``data.teacher`` of a run whose teacher computes its features during training."""


CONTROLS: dict[str, Pairs] = {"none": "true", "permuted_pairs": "permuted", "redrawn_pairs": "redrawn"}
"""``data.control`` -> the loader's ``pairs``; what a control learns cannot come from correct pairs."""


class DataFolder(Config):
    """One of several data folders.

    Args:
        root: the folder.
        weight: its share (see `DataSection.root`).
        augment: augmentations of its windows in place of `PretrainConfig.augment`, because mounting and sensor errors
            differ between sources; null = those of the config.
        paired: false = no teacher features of this folder are read, and its windows contribute only to losses and
            objectives on the IMU alone; their labels and descriptions are not used as texts.
    """

    root: PathText
    weight: float | None = Field(default=None, gt=0, le=1e9)
    paired: bool = True
    augment: tuple[Component, ...] | None = None


class TextSection(Config):
    """Texts of windows, for objectives that align with them.

    A window's text is the description of its recording, else its activity label. Labels of one activity in different
    data folders (``walk``, ``walking``) share their sentences (`teachers.activity_words`).

    Args:
        encoder: registered text encoder.
        description: tag with a description of the recording; null = labels only.
        templates: sentences in which ``{label}`` stands for the words of an activity.
        words: label or activity -> its phrases, for activities that are not known or named differently.
    """

    encoder: Component = {"name": "sentence"}
    description: str | None = "description"
    templates: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] = TEMPLATES
    words: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}

    @property
    def phrasing(self) -> Phrasing:
        """How labels become sentences."""
        return Phrasing(templates=self.templates, words=self.words)

    @model_validator(mode="after")
    def _with_label(self) -> TextSection:
        wrong = [template for template in self.templates if "{label}" not in template]
        if wrong:
            raise ValueError(f"templates must contain {{label}}, got {wrong[0]!r}")
        return self


class DataSection(Config):
    """Training data and its pairing.

    Args:
        root: data folder made by `imu-video build` and `imu-video embed`, or a mixture: a list of
            ``{root: ..., weight: ...}``. Without weights an epoch is one pass over all; with weights it is one pass
            over the first, and the others have ``weight / first weight`` times as many windows in it. A folder may
            have an ``augment`` of its own, and one without a teacher is ``paired: false``.
        train_split: training split.
        val_split: split of other subjects for validation and the choice of the best checkpoint; null = no validation.
        placements: devices to draw from; null = all. Each step uses one device per window.
        teacher: the cached teacher: its name if only one cache has that name, or the beginning of its fingerprint;
            null = the only cache, or ``none`` if no loss uses a teacher; ``none`` = train without a teacher;
            ``live`` = features are computed from the clips during training.
        live_teacher: the registered teacher that runs with ``teacher: live``.
        clip_augment: registered augmentations of clips, in training only; they require ``teacher: live``.
        workers: threads that decode clips for a live teacher.
        pair: second window of an augmented pair: the same ``window``, augmented again, or that of another of the
            ``devices`` worn at the same time, drawn per epoch (the same device where only one was worn).
        batch_size: windows per global batch, summed over processes.
        sampling: ``once``: every window once per epoch; ``replacement``: each batch is drawn independently by weight.
        leftover: windows that do not fill an epoch's last batch: ``drop`` skips them (others in each epoch),
            ``carry`` moves them to the next epoch.
        balance: with ``replacement``: the same chance for every ``subject`` or ``recording`` of a folder.
        weighting: with ``replacement``: ``std`` draws windows in proportion to the standard deviation of their
            acceleration (ssl-wearables).
        subjects_per_batch: subjects in every batch, with equally many windows each (ColloSSL: 1); null = subjects mix.
        normalise: scale of the encoder's input, fitted on the training windows: ``sensors`` divides each sensor by its
            root mean square, ``channels`` gives each channel mean 0 and deviation 1, ``none`` leaves SI units, and a
            number divides by it (9.80665 = accelerations in g). Stored with the encoder.
        errors: damaged samples: ``raise``, ``skip`` (leave out), ``quarantine`` (leave out and list beside the data).
        control: in training, every window is paired with the teacher's features (skeleton, clip) of another window,
            drawn by the seed: ``permuted_pairs`` once for the whole run, so that the target still identifies the
            window; ``redrawn_pairs`` in each epoch, so that it carries no information. Gains of such runs do not come
            from correct pairs.
        text: texts of the windows, for objectives that need them; null = `TextSection` with its defaults.
    """

    root: PathText | tuple[DataFolder, ...]
    train_split: str = "train"
    val_split: str | None = "val"
    placements: Annotated[tuple[str, ...] | None, DISTINCT] = None
    teacher: str | None = None
    live_teacher: Component | None = None
    clip_augment: tuple[Component, ...] = ()
    workers: int = Field(default=2, ge=0, le=256)
    pair: Literal["window", "devices"] = "window"
    batch_size: int = Field(default=128, ge=2, le=2**20)
    sampling: Literal["once", "replacement"] = "once"
    leftover: Literal["drop", "carry"] = "drop"
    balance: Literal["none", "subject", "recording"] = "none"
    weighting: Literal["none", "std"] = "none"
    subjects_per_batch: int | None = Field(default=None, ge=1, le=2**20)
    normalise: Normalise = "sensors"
    errors: Literal["raise", "skip", "quarantine"] = "raise"
    control: Literal["none", "permuted_pairs", "redrawn_pairs"] = "none"
    text: TextSection | None = None

    @model_validator(mode="after")
    def _folders(self) -> DataSection:
        weights = [folder.weight for folder in self.folders]
        if not weights or (None in weights and any(weights)):
            raise ValueError(f"root: give all folders a weight, or no folder; got {weights}")
        if len({folder.root for folder in self.folders}) < len(weights):
            raise ValueError(f"root: a folder occurs twice in {[folder.root for folder in self.folders]}")
        return self

    @property
    def folders(self) -> tuple[DataFolder, ...]:
        """The folders of ``root``."""
        return (DataFolder(root=self.root),) if isinstance(self.root, str) else self.root


Width = Annotated[int, Field(ge=1, le=2**16)]


class ProjectorSection(Config):
    """Projection heads between features and embeddings; they are not exported.

    Args:
        dim: embedding width D; null = 128, with ``teacher: none`` the width of the teacher's features, or with
            ``head: none`` that of the encoder's.
        dropout: rate inside the heads, 0 <= rate < 1.
        head: ``residual`` (Cheshmi et al. 2025); ``batch``: a hidden layer with batch norm and ReLU (SimCLR,
            CMC-CMKM), no dropout; ``batch_gelu``: with GELU (COMODO); ``relu``: hidden layers with ReLU (Tang et al.
            2020); ``linear``: one matrix (PRIMUS); ``none``: D is the width of the features.
        hidden: width of the hidden layer of ``batch``, ``batch_gelu`` and ``random``; of ``relu`` one or several; null
            = 256, 2048, 2048 and [256, 128].
        pair_head: ``shared``, or ``own``: augmented pairs have a head of their own, of the same kind (PRIMUS).
        teacher: head on the teacher's side: ``mlp`` (of the kind of ``head``), ``linear``, ``random`` (weights that are
            never trained, as in COMODO), or ``none``, which requires teacher features of width D.
        standardise: give each teacher feature zero mean and unit variance over the training split first.
        segments: time segments per window, for losses that align them.
    """

    dim: int | None = Field(default=None, ge=1, le=2**16)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    head: Literal["residual", "batch", "batch_gelu", "relu", "linear", "none"] = "residual"
    hidden: Width | Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] | None = None
    pair_head: Literal["shared", "own"] = "shared"
    teacher: Literal["mlp", "linear", "random", "none"] = "mlp"
    standardise: bool = True
    segments: int = Field(default=4, ge=2, le=2**12)


class PlateauSection(Config):
    """Reduction of the learning rate when the training loss stops falling (the rule of torch's ReduceLROnPlateau).

    The loss of the last update of each epoch is compared, as in the released code of CMC-CMKM.

    Args:
        factor: the rate is multiplied by it at each reduction.
        patience: epochs without a decrease that are tolerated.
    """

    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=20, ge=0, le=LARGEST_INTEGER)


class OptimSection(Config):
    """The optimiser, its schedule and the length of the run; exactly one of ``steps`` and ``epochs``.

    Args:
        algorithm: ``adamw``; or ``adam``, ``amsgrad``, ``sgd`` (without momentum), which add weight decay to the
            gradient.
        lr: peak learning rate, reached after the warm-up.
        min_lr: learning rate of the last step.
        weight_decay: of the parameters in ``decayed``.
        decayed: ``matrices`` (without biases, norms, scales and positions), or ``all`` parameters, as torch's
            optimisers do by themselves.
        betas: decay rates of the moments.
        clip_norm: maximum gradient norm; null = logged, not clipped.
        warmup_fraction: fraction of all steps with a rising learning rate.
        decay: from ``lr`` to ``min_lr`` after the warm-up: ``cosine``, ``linear``, or ``constant`` (stays at ``lr``).
        end: ``last``: the first step has a positive rate and the last step has ``min_lr``; ``after``: the warm-up
            starts at 0 and the step after the last would have ``min_lr``, as in torch's and transformers' schedulers.
        plateau: also reduce the rate when the training loss stops falling; null = no.
        steps: optimiser steps.
        epochs: passes over the usable windows, full global batches only.
        accumulate: global batches per optimiser step. Each has its own negatives: 2 x 128 is not one batch of 256.
    """

    algorithm: Algorithm = "adamw"
    lr: float = Field(default=1e-3, gt=0, le=1e3)
    min_lr: float = Field(default=1e-6, ge=0, le=1e3)
    weight_decay: float = Field(default=0.05, ge=0, le=1e3)
    decayed: Decayed = "matrices"
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.98)
    clip_norm: float | None = Field(default=1.0, gt=0, le=LARGEST_FLOAT)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    decay: Decay = "cosine"
    end: End = "last"
    plateau: PlateauSection | None = None
    steps: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    epochs: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    accumulate: int = Field(default=1, ge=1, le=2**16)

    @model_validator(mode="after")
    def _one_length(self) -> OptimSection:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                f"give exactly one of steps and epochs (steps={self.steps}, epochs={self.epochs}), the other null"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class RunSection(Config):
    """Logging, validation, checkpoints and placement of a run; counts are optimiser steps.

    Args:
        log_every: steps between lines of log.jsonl.
        validate_every: steps between validations; the last step is always validated.
        checkpoint_every: steps between checkpoints; the last step and a new best are always written.
        keep: number of newest checkpoints that are kept in addition to the best.
        best: validation metric that selects the best checkpoint: ``mrr`` (mean of both directions), ``loss``, or
            ``auto``: mrr where windows are paired with a video side, else loss.
        gallery: maximum number of pairs in the validation gallery.
        precision: ``auto`` = bf16 on a GPU that supports it, else fp32.
        device: ``auto`` = the GPU if there is one, else the CPU.
        tracker: ``tensorboard`` writes event files beside the log, which is always written.
        threads: CPU threads per process; null = torch's default, divided by the number of processes of `--nproc`.
    """

    log_every: int = Field(default=10, ge=1, le=LARGEST_INTEGER)
    validate_every: int = Field(default=200, ge=1, le=LARGEST_INTEGER)
    checkpoint_every: int = Field(default=200, ge=1, le=LARGEST_INTEGER)
    keep: int = Field(default=2, ge=1, le=10**6)
    best: Literal["auto", "mrr", "loss"] = "auto"
    gallery: int = Field(default=512, ge=2, le=2**20)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tracker: Literal["none", "tensorboard"] = "none"
    threads: int | None = Field(default=None, ge=1, le=2**10)


class InitSection(Config):
    """Weights that a run starts from in place of random ones; a name alone stands for ``encoder``.

    Args:
        encoder: exported encoder: folder, shipped name (``imu-video/small``) or repository on the hub. Its architecture
            is that of the run: ``encoder`` of the config must agree, or be absent or null.
        normalise: ``keep``: windows are normalised as by this encoder; ``fit``: by the new training windows, see
            `DataSection.normalise`.
    """

    encoder: PathText
    normalise: Literal["keep", "fit"] = "keep"


class ContinueSection(Config):
    """A finished run whose state this run takes over; `imu-pretrain continue` writes this section.

    Args:
        run: folder of the finished run; only read where this run has no checkpoint of its own.
        run_id: of the finished run.
        step: its last step, the first of this run.
        checkpoint: first 16 digits of the sha256 of its last checkpoint.
    """

    run: PathText
    run_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    step: int = Field(ge=1, le=LARGEST_INTEGER)
    checkpoint: str = Field(pattern=r"^[0-9a-f]{16}$")


def _of_name(value: Any) -> Any:
    return {"encoder": value} if isinstance(value, str) else value


class PretrainConfig(Config):
    """Everything that determines a pretraining run.

    Args:
        name: label of the run; part of the default run folder.
        seed: of initial weights, order of windows, choice of devices, augmentation and dropout.
        encoder: registered encoder.
        init: exported encoder whose weights the run starts from; null = random weights.
        continues: finished run that this one continues; null = a run of its own.
        augment: registered augmentations, applied in order, in training only.
        augment_on: what they act on: windows in ``si`` units, or ``normalised`` windows (`DataSection.normalise`), as
            in most published code.
        augment_first: whether the first window of an augmented pair is augmented as well; false = only the second.
        tower: registered tower: a jointly trained encoder in place of a frozen teacher; null = a teacher is used.
        loss: registered losses on embeddings, each with an optional ``weight``; may be empty beside objectives.
        objective: registered objectives on the student itself, each with an optional ``weight``.
    """

    name: str = Field(default="pretrain", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: Seed = 0
    data: DataSection
    encoder: Component = {"name": "patch_tst"}
    init: Annotated[InitSection | None, BeforeValidator(_of_name)] = None
    continues: ContinueSection | None = None
    projector: ProjectorSection = ProjectorSection()
    augment: tuple[Component, ...] = ()
    augment_on: Literal["si", "normalised"] = "si"
    augment_first: bool = True
    tower: Component | None = None
    loss: tuple[Component, ...] = ({"name": "info_nce"},)
    objective: tuple[Component, ...] = ()
    optim: OptimSection
    run: RunSection = RunSection()

    @model_validator(mode="before")
    @classmethod
    def _adopted_encoder(cls, data: Any) -> Any:
        # With `init`, null is the same as no key: a config that extends another one can only replace a key.
        if isinstance(data, Mapping) and data.get("init") is not None and data.get("encoder", ...) is None:
            return {key: value for key, value in data.items() if key != "encoder"}
        return data

    @model_validator(mode="after")
    def _init_keeps_its_normalisation(self) -> PretrainConfig:
        if self.init is not None and self.init.normalise == "keep" and self.data.normalise != "sensors":
            raise ValueError(
                f"init.normalise is keep, so that data.normalise {self.data.normalise!r} has no effect: set "
                "init.normalise=fit, or leave data.normalise out"
            )
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> PretrainConfig:
        if not self.loss and not self.objective:
            raise ValueError("loss and objective are both empty: name at least one")
        return self
