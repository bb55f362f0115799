# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that uploads a bundle to the Hugging Face Hub."""

from __future__ import annotations

import importlib
import os
import tempfile

import monai.bundle.scripts

from tools.archive import extract_archive
from tools.bundle_files import list_bundles
from tools.checks import release_key
from tools.release import build_archives

__all__ = ["push_to_hf_hub"]


def push_to_hf_hub(
    name: str,
    repo: str,
    repository: str | os.PathLike = ".",
    schema: str | os.PathLike | None = None,
    private: bool = True,
    latest: bool = False,
    overwrite: bool = False,
) -> str:
    """Upload a bundle to the Hugging Face Hub, after the checks of the command release, with its version as a tag.

    What is uploaded is what the archive of the release holds, and the bundle's documentation as the model card. It
    needs the package huggingface_hub, and a token in the environment variable HF_TOKEN or from "hf auth login".

    Args:
        name: of the bundle.
        repo: where to, as OWNER/NAME; made when absent.
        repository: the checkout of the project.
        schema: a copy of the schema that metadata.json names; it is downloaded by default.
        private: whether a repository that is made is private.
        latest: whether the commit is tagged latest_version, too, which MONAI downloads by default.
        overwrite: whether a version may be uploaded whose tag exists; the tag stays where it is.

    Returns:
        the address of the upload.

    Raises:
        FileExistsError: when the version was uploaded before, and overwrite is false.
        FileNotFoundError: when the bundle or one of its files is missing.
        ValueError: when huggingface_hub is not installed, repo is not OWNER/NAME, or a check fails.
    """
    if len(repo.split("/")) != 2 or not all(repo.split("/")):
        raise ValueError(f"repo is {repo!r}; give it as OWNER/NAME.")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ValueError("Uploads need huggingface_hub: python -m pip install huggingface_hub.") from error
    (bundle,) = list_bundles(repository, (name,))
    version = release_key(bundle).rsplit("_v", 1)[1]
    try:
        tags = {tag.name for tag in hub.HfApi().list_repo_refs(repo_id=repo).tags}
    except hub.errors.RepositoryNotFoundError:
        tags = set()
    if not overwrite and version in tags:
        raise FileExistsError(
            f"{repo} has the version {version}. Give the bundle a new version in configs/metadata.json, or upload its "
            "files again by --overwrite."
        )
    with build_archives(repository, (name,), schema) as (built,), tempfile.TemporaryDirectory() as folder:
        # MONAI writes the model card into the folder.
        extract_archive(built.archive, folder, built.name)
        address = monai.bundle.scripts.push_to_hf_hub(
            repo=repo,
            name=built.name,
            bundle_dir=folder,
            private=private,
            version=version,
            tag_as_latest_version=latest,
        )
    return str(address)
