# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The files of a released bundle: its own, the package, what to install, and the pictures of its documentation."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path, PurePosixPath

__all__ = ["collect_files", "list_bundles", "neighbours"]

#: The core, which every release carries, and what it carries if a configuration names it.
PACKAGES = ("seq2seq_mri", "seq2seq_studies", "mri_phantom")
REQUIRED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "docs/README.md")
WEIGHTS = "models/model.pt"
#: What a bundle may hold. All else is refused, rather than published by mistake.
PUBLISHED = ("LICENSE", "configs/*.json", "configs/logging.conf", "docs/*.md", "docs/*.txt", "docs/*.png", WEIGHTS)
_IMAGES = ("docs", "images")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NEIGHBOUR = re.compile(r"sibling_bundle\(@bundle_root, '(\w+)'\)")


def list_bundles(repository: str | os.PathLike, names: tuple[str, ...] = ()) -> list[Path]:
    """Return the folders of the bundles ``names``, or of all, in ``repository``.

    Raises:
        FileNotFoundError: when the repository has no bundles, or not that one.
    """
    folder = Path(repository) / "bundles"
    known = sorted(path.parents[1] for path in folder.glob("*/configs/metadata.json"))
    if not known:
        raise FileNotFoundError(f"There are no bundles in {folder}; give the checkout of the project by --repository.")
    by_name = {path.name: path for path in known}
    if unknown := [name for name in names if name not in by_name]:
        raise FileNotFoundError(f"There is no bundle {unknown[0]} in {folder}; there are {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(names)] if names else known


def collect_files(bundle: Path, repository: str | os.PathLike) -> dict[str, bytes | Path]:
    """Return what a release of ``bundle`` holds, but for ``models/model.ts``, by path within it.

    To the bundle's own files come the package, from the repository's ``common/``, in ``seq2seq_mri/``;
    ``requirements.txt``, the packages that setup.cfg requires; and in ``docs/images/`` the pictures to which its
    documentation links, whose links are changed accordingly.

    Raises:
        FileNotFoundError: when a file is missing that every bundle has.
        ValueError: when there is a file that is not to be published, or documentation that links to nothing.
    """
    repository = Path(repository)
    _check_present(bundle)
    files: dict[str, bytes | Path] = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle)
        if path.is_symlink():
            raise ValueError(f"{path} is a link; a release holds files only.")
        if path.is_dir():
            continue
        # Not PurePath.match, which looks at the end of the path only.
        if not any(PurePosixPath(pattern).parent == name.parent and name.match(pattern) for pattern in PUBLISHED):
            raise ValueError(f"{path} is not a file that a bundle publishes ({', '.join(PUBLISHED)}); remove it.")
        files[name.as_posix()] = path
    configs = "".join(path.read_text(encoding="utf-8") for path in bundle.glob("configs/*.json"))
    for package in PACKAGES:
        if package == PACKAGES[0] or f"{package}." in configs:
            files |= _package(repository / "common" / package)
    files["requirements.txt"] = _requirements(repository / "setup.cfg")
    for document in [name for name in files if name.startswith("docs/") and name.endswith(".md")]:
        text, images = _move_pictures(bundle / document, bundle, repository)
        files[document] = text.encode()
        files |= images
    return files


def neighbours(bundle: Path) -> list[str]:
    """Return the names of the bundles that the configurations of ``bundle`` look for beside it."""
    found: set[str] = set()
    for config in (bundle / "configs").glob("*.json"):
        found |= set(_NEIGHBOUR.findall(config.read_text(encoding="utf-8")))
    return sorted(found)


def _check_present(bundle: Path) -> None:
    for name in REQUIRED:
        if not (bundle / name).is_file():
            raise FileNotFoundError(f"{bundle / name} does not exist; every bundle has one.")
    if not (bundle / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{bundle / WEIGHTS} does not exist: a release needs trained weights. Train the bundle and put its "
            f"checkpoint there, or release the others by giving their names."
        )


def _package(folder: Path) -> dict[str, bytes | Path]:
    if not (folder / "__init__.py").is_file():
        raise FileNotFoundError(f"{folder} is not the package; give the checkout of the project by --repository.")
    files: dict[str, bytes | Path] = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        if path.suffix != ".py" or path.is_symlink():
            raise ValueError(f"{path} is not a Python file, and all that the package publishes is; remove it.")
        files[f"{folder.name}/{path.relative_to(folder).as_posix()}"] = path
    return files


def _requirements(setup: Path) -> bytes:
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    try:
        lines = parser["options"]["install_requires"].split("\n")
    except KeyError as error:
        raise ValueError(f"{setup} does not say what the package requires (options, install_requires).") from error
    return "".join(f"{line.strip()}\n" for line in lines if line.strip()).encode()


def _move_pictures(document: Path, bundle: Path, repository: Path) -> tuple[str, dict[str, bytes | Path]]:
    """Return the document with its links to the repository's pictures changed, and these pictures."""
    text = document.read_text(encoding="utf-8")
    pictures = repository.joinpath(*_IMAGES).resolve()
    images: dict[str, bytes | Path] = {}
    for link in sorted(set(_LINK.findall(text))):
        if re.match(r"[a-z]+:|#", link):
            continue
        path = (document.parent / link.split("#")[0]).resolve()
        if not path.is_file():
            raise ValueError(f"{document} links to {link}, which does not exist.")
        if path.parent == pictures:
            name = "/".join((*_IMAGES, path.name))
            images[name] = path
            depth = len(document.relative_to(bundle).parent.parts)
            text = text.replace(f"]({link})", f"]({'../' * depth}{name})")
        elif not path.is_relative_to(bundle.parent.resolve()):
            raise ValueError(f"{document} links to {link}, which is not in a release; give an address on the web.")
    return text, images
