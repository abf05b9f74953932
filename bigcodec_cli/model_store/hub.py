"""Downloading published models from the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path

from bigcodec_cli.console.messages import CliError

PUBLISHED = {"bigcodec": ("Alethia/BigCodec", "bigcodec.pt")}
"""Name of a published model: hub repository and file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """A downloaded checkpoint, its address and its commit."""

    path: Path
    source: str
    revision: str


def fetch(name: str, folder: Path) -> Download:
    """Download a published model's checkpoint into `folder` and compare its hash with the hub's.

    Both are those of the newest commit.

    Raises:
        CliError: no such published model, no network, or the file is not what the hub declares.
    """
    if name not in PUBLISHED:
        known = ", ".join(sorted(PUBLISHED))
        raise CliError(f"{name}: no published model of this name; there is: {known}")
    repository, filename = PUBLISHED[name]
    from huggingface_hub import hf_hub_download

    try:
        revision = _newest_revision(repository, filename)
        declared = _declared_hash(repository, filename, revision)
        path = Path(hf_hub_download(repository, filename, revision=revision, local_dir=folder))
    except CliError:
        raise
    except Exception as error:  # the hub client raises the errors of several HTTP libraries
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CliError(
            f"cannot fetch {filename} from {repository}: {reason[0]}; "
            "check the network, or fetch the file elsewhere and 'bigcodec models import' it"
        ) from error
    if _file_hash(path) != declared:
        raise CliError(f"{filename} from {repository} does not have the SHA-256 the hub declares")
    source = f"https://huggingface.co/{repository}/{filename}"
    return Download(path=path, source=source, revision=revision)


def _newest_revision(repository: str, filename: str) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    commit = get_hf_file_metadata(hf_hub_url(repository, filename)).commit_hash
    if not commit:
        raise CliError(f"the hub declares no revision of {filename} in {repository}")
    return commit


def _declared_hash(repository: str, filename: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    for entry in HfApi().get_paths_info(repository, [filename], revision=revision):
        if isinstance(entry, RepoFile) and entry.lfs is not None:
            return entry.lfs.sha256
    raise CliError(f"the hub declares no SHA-256 for {filename} in {repository}")


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_folder(home: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for a download that is removed afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=home, prefix=".download-")
