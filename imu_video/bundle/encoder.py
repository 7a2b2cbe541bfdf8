"""Exported encoders: weights, input specification and lineage in one folder; no training.

The folder contains `model.safetensors`, `config.json`, `README.md` (the model card) and, for encoders that were aligned
with texts, `text.safetensors`. Loading it needs only torch,
numpy, scipy, pydantic, safetensors and yaml.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.bundle import hub
from imu_video.bundle.card import render
from imu_video.bundle.folder import CONFIG, TEXT, WEIGHTS, FolderFormat, config_text, load_weights
from imu_video.bundle.input_spec import InputSpec, fit_input_spec
from imu_video.bundle.locate import encoder_folder, is_name, name_of
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.encoders.allocation import bounded
from imu_video.encoders.base import check_tensor
from imu_video.errors import CheckpointError, ConfigError
from imu_video.runtime import documents
from imu_video.runtime.content import shown
from imu_video.runtime.files import atomic_folder, is_free
from imu_video.runtime.references import resolve, restored, settled
from imu_video.types import JsonDict
from imu_video.version import __version__

if TYPE_CHECKING:
    from imu_video.bundle.text import TextHead

__all__ = ["EncoderBundle", "InputSpec", "fit_input_spec", "load_encoder", "read_config"]

CARD = "README.md"
FOLDER = FolderFormat(
    name="imu-video-encoder",
    version=1,
    what="encoder",
    command="imu-pretrain export RUN OUT",
    required=("encoder", "input", "lineage"),
)
"""Format of an encoder folder on disk."""


class EncoderBundle(nn.Module, WindowEncoder):
    """An encoder with its input specification: windows in SI units in, features out, in training and at inference.

    Args:
        spec: channels, rate, normalisation.
        encoder: name or config entry (``{"name": "patch_tst", "width": 64}``) of a registered encoder; arguments that
            the windows determine (`InputSpec.encoder_context`: ``channels``, ``samples`` ...) are filled in from the
            spec. A validated entry is built without further checks.

    Raises:
        ConfigError: unknown encoder or argument, or an encoder for another number of channels.

    Example:
        >>> spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
        >>> bundle = EncoderBundle(spec=spec, encoder={"name": "patch_tst", "width": 32})
        >>> bundle.encode(np.random.default_rng(0).normal(9.8, 1, (4, 6, 250)), rate_hz=50).shape
        (4, 192)

    Attributes:
        text: the text head, None for an encoder that was not aligned with texts.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, spec: InputSpec, encoder: Mapping[str, Any] | str | registry.Entry[Any]) -> None:
        super().__init__()
        context = spec.encoder_context
        if isinstance(encoder, registry.Entry):
            entry = encoder.filled(**context)
        else:
            entry = registry.encoders.entry(encoder, **context)
        name = entry.name
        self.spec = spec
        self.encoder_config: JsonDict = entry.config
        self.lineage: JsonDict = {}
        self.text: TextHead | None = None
        self.weights_sha256 = ""  # of the folder that was loaded; empty for weights that come from no folder
        with bounded(f"encoder {name!r}"):
            self.encoder: nn.Module = entry.build()
        if self.encoder.channels != len(spec.channels):
            raise ConfigError(
                f"encoder {name!r} takes {self.encoder.channels} channels, the input has {len(spec.channels)}: "
                f"{', '.join(spec.channels)}"
            )
        self.feature_dim = int(self.encoder.feature_dim)
        self.register_buffer("mean", torch.tensor(spec.mean)[:, None], persistent=False)
        self.register_buffer("std", torch.tensor(spec.std)[:, None], persistent=False)

    def adopt(self, spec: InputSpec) -> None:
        """Replace the normalisation by that of another specification of the same windows.

        Args:
            spec: equal in channels, rate and window length.

        Raises:
            ConfigError: other channels, another rate or window length.
        """
        for fact in ("channels", "rate_hz", "window_s"):
            seen, expected = getattr(spec, fact), getattr(self.spec, fact)
            if seen != expected:
                raise ConfigError(f"input specification with {fact} {seen!r}, the encoder was built for {expected!r}")
        self.spec = spec
        self.mean.copy_(torch.tensor(spec.mean)[:, None])
        self.std.copy_(torch.tensor(spec.std)[:, None])

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of windows (B, C, T) in SI units at the spec's rate; ``mask`` True = measured (None: all)."""
        features: Tensor = self.encoder(self.normalise(imu, mask), mask)
        return features

    def normalise(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalised windows (B, C, T), the input of the encoder; zeros where the mask is False."""
        check_tensor(imu)
        normalised = (imu - self.mean).div_(self.std)
        return normalised if mask is None else torch.where(mask, normalised, 0)

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the features by their origin, for an encoder that joins several; empty for any other."""
        return dict(getattr(self.encoder, "parts", {}))

    @property
    def head_columns(self) -> slice:
        """Columns of the features that the projection heads of training take; all, unless the encoder limits them."""
        columns: slice = getattr(self.encoder, "head_columns", slice(0, self.feature_dim))
        return columns

    @property
    def head_dim(self) -> int:
        """Number of `head_columns`."""
        return len(range(*self.head_columns.indices(self.feature_dim)))

    def head_features(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """The columns `head_columns` of `forward`; an encoder may compute them alone."""
        own = getattr(self.encoder, "head_features", self.encoder)
        features: Tensor = own(self.normalise(imu, mask), mask)
        return features

    def fit(self, imu: Tensor, mask: Tensor | None = None) -> None:
        """Give the encoder what it takes from training windows without gradients: nothing, for most encoders.

        Args:
            imu: (N, C, T) windows in SI units at the spec's rate; the normalisation must be that of training.
            mask: (N, C, T) bool, True where measured; None: all.
        """
        if hasattr(self.encoder, "fit"):
            self.encoder.fit(self.normalise(imu, mask), mask)  # type: ignore[operator]

    @property
    def token_dim(self) -> int | None:
        """Width of `tokens`; None for an encoder without features over time."""
        return int(self.encoder.token_dim) if hasattr(self.encoder, "tokens") else None  # type: ignore[arg-type]

    def tokens(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features over time (B, S, token_dim) of windows (B, C, T) in SI units, oldest first.

        Raises:
            ConfigError: the encoder has no features over time.
        """
        if self.token_dim is None:
            raise ConfigError(
                f"encoder {self.encoder_config['name']!r} has no features over time (no method `tokens`)",
                hint="use one of: " + ", ".join(n for n in registry.encoders.names() if _has_tokens(n)),
            )
        tokens: Tensor = self.encoder.tokens(self.normalise(imu, mask), mask)  # type: ignore[operator]
        return tokens

    @torch.inference_mode()
    def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        # torch shares the memory of a contiguous, writable array; any other array is copied here explicitly.
        imu = torch.from_numpy(np.require(x, requirements=["C", "W"])).to(self.mean.device)
        mask = None
        if there is not None:
            mask = torch.from_numpy(there).to(self.mean.device)
            imu = torch.where(mask, imu, 0)
        with _evaluating(self):
            features: Tensor = self(imu, mask)  # without a mask: the same result, but faster
        return features.float().cpu().numpy()

    @property
    def text_head(self) -> TextHead:
        """The text head.

        Raises:
            ConfigError: the encoder was not aligned with texts.
        """
        if self.text is None:
            raise ConfigError(
                "this encoder has no text head: it was not aligned with texts in pretraining",
                hint="pretrain with objective=[{name: text_alignment}] and export the run, or fit a head: "
                "imu-eval fit-head ENCODER DATA --out HEAD",
            )
        return self.text

    def text_scores(self, windows: np.ndarray, prompts: Sequence[str], **options: Any) -> np.ndarray:
        """Cosine of windows with prompts, for encoders with a text head.

        Args:
            windows: see `encode`.
            prompts: M names of activities, such as ``walking``; see `TextHead.prompts`.
            options: ``rate_hz`` and the other options of `encode`.

        Shapes: (N, C, T) -> (N, M) in [-1, 1].

        Raises:
            ConfigError: the encoder has no text head, or a prompt needs a text encoder that is not installed.
            RecordingError: see `encode`.

        Example:
            ``load_encoder("encoder").text_scores(windows, ["walking", "sitting"], rate_hz=50)``
        """
        head = self.text_head
        return head.scores(self.encode(windows, **options), prompts)

    def save(self, folder: str | Path, *, lineage: Mapping[str, Any] | None = None, force: bool = False) -> Path:
        """Write the encoder folder (weights, config.json, model card) atomically.

        Args:
            folder: output folder; must be absent or empty unless ``force`` is set.
            lineage: JSON facts about the origin of the weights (dataset, subjects of the splits, teacher and its
                fingerprint, loss, steps, run id, licences ...); the card shows all of them. None: that of the loaded
                encoder.
            force: replace an existing encoder folder.

        Raises:
            CheckpointError: the folder has other content, or exists and ``force`` is not set.
            ConfigError: the lineage is not JSON.
        """
        target = Path(folder)
        _refuse_overwrite(target, force)
        facts = restored(self.lineage if lineage is None else lineage)
        try:
            json.dumps(facts, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"lineage must be JSON values only: {error}") from error
        shape: JsonDict = {
            "encoder": restored(self.encoder_config),
            "input": self.spec.model_dump(mode="json"),
            "feature_dim": self.feature_dim,
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
        }
        origin = {"versions": {"imu-video": __version__, "torch": torch.__version__}, "lineage": facts}
        section, text = (None, b"") if self.text is None else self.text.pack()
        if section is not None:
            shape["text"] = section
        config, weights = FOLDER.pack(shape, self.encoder, origin=origin)
        with atomic_folder(target, replace=True) as temporary:
            (temporary / WEIGHTS).write_bytes(weights)
            if section is not None:
                (temporary / TEXT).write_bytes(text)
            (temporary / CONFIG).write_text(config_text(config), encoding="utf-8")
            (temporary / CARD).write_text(render(config), encoding="utf-8")
        return target

    save_pretrained = save
    """Alias of `save`, as in Hugging Face libraries."""

    @staticmethod
    def from_pretrained(
        source: str | Path, *, device: torch.device | str = "cpu", revision: str | None = None
    ) -> EncoderBundle:
        """Alias of `load_encoder`, as in Hugging Face libraries.

        Args:
            source, device, revision: see `load_encoder`.

        Raises:
            CheckpointError: as for `load_encoder`.

        Example:
            ``EncoderBundle.from_pretrained("hf://owner/name")``
        """
        return load_encoder(source, device=device, revision=revision)

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, lineage: Mapping[str, Any] | None = None, api: Any | None = None
    ) -> str:
        """Upload weights, config.json and model card to the Hugging Face hub and return the repository's address.

        Args:
            repo_id, private, api: see `bundle.hub.upload`.
            lineage: see `save`.
        """
        with tempfile.TemporaryDirectory(prefix="imu-video-hub-") as folder:
            return push_to_hub(self.save(folder, lineage=lineage), repo_id, private=private, api=api)


def load_encoder(
    source: str | Path, *, device: torch.device | str = "cpu", revision: str | None = None
) -> EncoderBundle:
    """Read an exported encoder, in evaluation mode.

    Args:
        source: folder written by `imu-pretrain export` or `EncoderBundle.save`; name of an encoder that is shipped
            inside the package, such as ``imu-video/small`` (`list_pretrained`); or a repository on the Hugging Face
            hub, ``hf://owner/name``, ``hf://owner/name@revision`` or ``owner/name``. `bundle.locate.encoder_folder`
            states which of them is meant. Files from the hub are cached (`bundle.hub.download`).
        device: device of the encoder.
        revision: branch, tag or commit on the hub; default ``main``.

    Raises:
        CheckpointError: the folder is missing, damaged or of another kind; the weights do not match the hash in
            config.json; no encoder of this name is shipped; the repository cannot be downloaded.
        ConfigError: a malformed address, a name of a shipped encoder that is a local folder as well, or a revision
            given for a local folder.

    Example:
        >>> windows = np.random.default_rng(0).normal(0, 1, (2, 6, 500))
        >>> windows[:, 2] += 9.8
        >>> encoder = load_encoder("imu-video/small")
        >>> encoder.encode(windows, rate_hz=100).shape == (2, encoder.feature_dim)
        True
    """
    folder = encoder_folder(source, revision=revision)
    try:
        bundle = _read(folder)
        bundle.name = name_of(source)
        return bundle.to(device).eval()
    except CheckpointError as error:
        if not is_name(source):
            raise
        raise CheckpointError(f"{source}: {error.message}", hint=error.hint) from error


def _read(folder: Path) -> EncoderBundle:
    config, weights = FOLDER.read(folder)
    if not isinstance(config["encoder"], dict) or not isinstance(config["lineage"], dict):
        key = "encoder" if not isinstance(config["encoder"], dict) else "lineage"
        raise CheckpointError(
            f"{folder / CONFIG}: key {key!r}: expected a mapping of keys (got {shown(config[key])})",
            hint="copy or export the folder again",
        )
    try:
        source = f"{folder / CONFIG}, input"
        encoder = settled(resolve(config["encoder"], f"{folder / CONFIG}, encoder"))
        spec = documents.validate(InputSpec, config["input"], source, error=ConfigError)
        bundle = EncoderBundle(spec=spec, encoder=encoder)
    except ConfigError as error:
        hint = error.hint or "install a newer imu-video, or import the plugin that registers this encoder"
        raise CheckpointError(f"{folder / CONFIG}: {error.message}", hint=hint) from error
    load_weights(bundle.encoder, weights, folder=folder, built_from=f"encoder {config['encoder']}")
    bundle.lineage = dict(config["lineage"])
    bundle.weights_sha256 = str(config["weights_sha256"])
    if "text" in config:
        from imu_video.bundle.text import read_text  # most encoders have none, and need no teacher's module

        bundle.text = read_text(folder, config["text"], feature_dim=bundle.feature_dim)
        bundle.text.encoder = bundle.weights_sha256
    return bundle


def read_config(source: str | Path) -> JsonDict:
    """Read and check the config.json of an encoder; weights are not read.

    Args:
        source: see `load_encoder`.

    Raises:
        CheckpointError: no such file, not JSON, another format or format version, or missing keys.

    Example:
        >>> read_config("imu-video/small")["format"]
        'imu-video-encoder'
    """
    return FOLDER.read_config(encoder_folder(source))


def _has_tokens(name: str) -> bool:
    return hasattr(registry.encoders.get(name), "tokens")


# ------------------------------------------------------------------------------------------- writing a folder


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)


def _refuse_overwrite(target: Path, force: bool) -> None:
    if is_free(target):
        return
    if not (target / CONFIG).is_file() or not (target / WEIGHTS).is_file():
        raise CheckpointError(f"{target} exists and is not an encoder folder", hint="choose another output folder")
    if not force:
        raise CheckpointError(
            f"{target} already contains an encoder", hint="choose another folder, or replace it with --force"
        )


def push_to_hub(folder: str | Path, repo_id: str, *, private: bool = True, api: Any | None = None) -> str:
    """Upload an encoder folder to a model repository on the Hugging Face hub and return its address.

    Args:
        folder: an encoder folder; it is loaded once first, so that no damaged encoder is published.
        repo_id, private, api: see `bundle.hub.upload`.

    Raises:
        CheckpointError: the folder is damaged or contains no encoder.
    """
    load_encoder(folder)
    return hub.upload(folder, repo_id, private=private, api=api)
