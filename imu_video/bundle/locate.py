"""The folder of an encoder that is named by a path, a shipped name or an address on the hub; nothing is loaded here."""

from __future__ import annotations

import re
from pathlib import Path

from imu_video.bundle import hub, pretrained
from imu_video.errors import CheckpointError, ConfigError

_REPOSITORY = re.compile(r"(?!.*\.\.)(?P<owner>\w[\w.-]*)/\w[\w.-]*(@\w[\w./-]*)?")


def encoder_folder(source: str | Path, *, revision: str | None = None) -> Path:
    """The folder of an encoder; files of the hub are downloaded, or read from the local cache.

    Every function and command that takes an encoder resolves it here, in this order:

    1. ``hf://owner/name`` or ``hf://owner/name@revision`` is a repository on the hub.
    2. ``imu-video/NAME`` is an encoder that is shipped inside the package, see `list_pretrained`. A local folder at
       this path would be another encoder under the same name, so that the source is refused as ambiguous.
    3. A path that exists is itself.
    4. ``owner/name`` or ``owner/name@revision`` is a repository on the hub, unless ``owner`` is a local folder or
       ``imu-video``: a mistyped name of a shipped encoder downloads nothing.
    5. Anything else is a path.

    Args:
        source: path, name or address.
        revision: branch, tag or commit of a repository on the hub; default: ``main``.

    Raises:
        ConfigError: a malformed address, an ambiguous name, or a revision of a local folder.
        CheckpointError: no such shipped encoder, or a repository that cannot be downloaded.

    Example:
        >>> encoder_folder("encoders/run 1")
        PosixPath('encoders/run 1')
    """
    text = str(source)
    if hub.is_address(source):
        return hub.download(source, revision=revision)
    if pretrained.is_shipped_name(source):
        if Path(source).exists():
            raise ConfigError(
                f"{source}: both a local folder and the name of an encoder that is shipped with imu-video",
                hint=f"for the local folder, name its absolute path: {Path(source).absolute()}",
            )
        _refuse_revision(source, revision)
        return pretrained.shipped_folder(source)
    if is_repository(source):
        if text.partition("/")[0].casefold() == pretrained.OWNER:
            return pretrained.shipped_folder(text)  # refuses it, and names the similar ones
        try:
            return hub.download(f"hf://{text}", revision=revision)
        except CheckpointError as error:
            raise CheckpointError(
                f"{text}: no such local folder, and not available as a repository on the Hugging Face hub: "
                f"{error.message}",
                hint=f"name an existing encoder folder (`imu-pretrain export RUN OUT`), or for the hub: {error.hint}",
            ) from error
    _refuse_revision(source, revision)
    if not Path(source).exists():
        _name_the_shipped(text)
    if Path(source).is_file():
        onnx = Path(source).suffix.lower() == ".onnx"
        raise CheckpointError(
            f"{text}: a file, expected an encoder folder",
            hint="imu_video.export.load_onnx opens exported ONNX files" if onnx else "name the folder that contains it",
        )
    return Path(source)


def _name_the_shipped(text: str) -> None:
    """Name the shipped encoders to a caller who wrote such a name in another way: ``small``, ``imu-video/small/``.

    Raises:
        CheckpointError: where the text, without spaces and with one kind of slash, is such a name.
    """
    plain = text.strip().replace("\\", "/").strip("/").casefold()
    shipped = plain if plain.startswith(f"{pretrained.OWNER}/") else f"{pretrained.OWNER}/{plain}"
    if plain == pretrained.OWNER:
        raise CheckpointError(f"{text}: no such folder", hint="`imu-video list pretrained` lists the shipped encoders")
    if pretrained.is_shipped_name(shipped) and (pretrained.ROOT / shipped.partition("/")[2]).is_dir():
        raise CheckpointError(f"{text}: no such folder", hint=f"the encoder inside the package is named {shipped}")


def is_repository(source: str | Path) -> bool:
    """Whether a source that is no address has the form ``owner/name`` and cannot be meant as a local path.

    A path whose first part is a local folder is a path, so that a mistyped ``encoders/mien`` sends no request.
    """
    found = _REPOSITORY.fullmatch(str(source))
    return found is not None and not Path(source).exists() and not Path(found["owner"]).exists()


def is_name(source: str | Path) -> bool:
    """Whether a source is a shipped name, an address or a repository rather than a local path."""
    return hub.is_address(source) or pretrained.is_shipped_name(source) or is_repository(source)


def name_of(source: str | Path) -> str:
    """Name of an encoder in tables: that of its folder, or the whole shipped name, address or repository.

    Example:
        >>> name_of("runs/encoders/mine"), name_of("imu-video/small")
        ('mine', 'imu-video/small')
    """
    return str(source) if is_name(source) else Path(source).resolve().name


def _refuse_revision(source: str | Path, revision: str | None) -> None:
    if revision is not None:
        what = "an encoder of the package" if pretrained.is_shipped_name(source) else "a local folder"
        raise ConfigError(f"{source}: {what} has no revisions, got {revision=}")
