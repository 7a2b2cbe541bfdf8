"""Encoder folders on the Hugging Face hub: download by address, upload; encoder.py writes and reads the folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imu_video.bundle.folder import CONFIG, TEXT, WEIGHTS
from imu_video.errors import CheckpointError, ConfigError
from imu_video.version import __version__

# A Path turns hf://owner/name into hf:/owner/name.
# Owner, name and revision become paths of the cache, so two dots in a row, which git refuses too, match nowhere.
_ADDRESS = re.compile(r"(?!.*\.\.)hf:/{1,2}(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?/?")


def is_address(source: str | Path) -> bool:
    """Whether a source names a repository on the hub rather than a local folder."""
    return str(source).startswith("hf:/")


def download(address: str | Path, *, revision: str | None = None) -> Path:
    """Download the weights and config.json of an encoder on the hub; no executable files are downloaded.

    Files in the local cache of ``huggingface_hub`` are not downloaded again, so that a cached encoder loads offline.
    ``HF_HOME`` moves the cache, ``HF_HUB_OFFLINE=1`` disables all requests.

    Args:
        address: ``hf://owner/name`` or ``hf://owner/name@revision``.
        revision: branch, tag or commit; default: that of the address, otherwise ``main``. Use a commit for reproducible
            results.

    Raises:
        ConfigError: an address of another form, or two different revisions.
        CheckpointError: the repository cannot be downloaded and is not cached, or it contains no encoder.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise ConfigError(f"{address}: not an address of an encoder on the hub", hint="for example hf://owner/name")
    repo, named = found["repo"], found["revision"]
    if revision is not None and named is not None and revision != named:
        raise ConfigError(f"{address}: the address has revision {named!r}, the argument is {revision!r}")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo, revision=revision or named, allow_patterns=[WEIGHTS, CONFIG, TEXT]))
    except Exception as error:  # the client raises its own types, those of its HTTP library, and OSError
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"hf://{repo}: could not be downloaded: {type(error).__name__}: {_masked(reason[0] if reason else '')}",
            hint=_advice(error, repo),
        ) from error
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"hf://{repo}: not an encoder folder: no {' and no '.join(missing)}",
            hint="only encoders that `imu_video.bundle.push_to_hub` uploaded can be loaded",
        )
    return folder


def _masked(text: str) -> str:
    """A library's error text without the credentials and signed queries of the addresses in it.

    Example:
        >>> _masked("403 for url: https://me:pw@cdn.example.org/f?Signature=abc (Forbidden)")
        '403 for url: https://***@cdn.example.org/f?*** (Forbidden)'
    """
    return re.sub(r"(\w://[^\s?]*)\?[^\s)'\"]+", r"\1?***", re.sub(r"(\w://)[^\s/@]+@", r"\1***@", text))


def _advice(error: Exception, repo: str) -> str:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "check owner and name; for a private repository run `hf auth login` first"
    if isinstance(error, RevisionNotFoundError):
        return f"check the revision: https://huggingface.co/{repo}/commits/main lists them"
    return (
        f"check the connection; offline, run `hf download {repo} --local-dir FOLDER` on another machine and load "
        "that FOLDER"
    )


def upload(folder: str | Path, repo_id: str, *, private: bool = True, api: Any | None = None) -> str:
    """Upload a folder to a model repository on the Hugging Face hub and return its address; the content is not checked.

    Args:
        folder: an encoder folder; `encoder.push_to_hub` loads it first.
        repo_id: ``owner/name``; created if it does not exist.
        private: whether a newly created repository is private.
        api: a ``huggingface_hub.HfApi``; None creates one, which uses the login of ``hf auth login``.
    """
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(folder_path=str(folder), repo_id=repo_id, commit_message=f"imu-video {__version__} encoder")
    return str(url)
