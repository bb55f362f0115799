# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The files of a released bundle: its own, the modules it runs, what to install, and its documentation's pictures."""

from __future__ import annotations

import ast
import configparser
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["CORE", "PACKAGES", "collect_files", "list_bundles", "neighbours"]

#: The package that every release carries as a whole, and those of which it carries what the bundle's configs name.
CORE = "seq2seq_mri"
PACKAGES = (CORE, "seq2seq_studies", "mri_phantom")
_REQUIRED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "docs/README.md")
_WEIGHTS = "models/model.pt"
#: What a bundle may hold. All else is refused, rather than published by mistake.
_PUBLISHED = ("LICENSE", "configs/*.json", "configs/logging.conf", "docs/*.md", "docs/*.txt", "docs/*.png", _WEIGHTS)
_IMAGES = "docs/images"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NEIGHBOUR = re.compile(r"sibling_bundle\(@bundle_root, '(\w+)'\)")
_NAME = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def list_bundles(repository: str | os.PathLike, names: tuple[str, ...] = ()) -> list[Path]:
    """Return the folders of the bundles ``names``, or of all, in ``repository``.

    Raises:
        FileNotFoundError: when the repository has no bundles, or not that one.
    """
    folder = Path(repository) / "bundles"
    known = {path.parents[1].name: path.parents[1] for path in sorted(folder.glob("*/configs/metadata.json"))}
    if not known:
        raise FileNotFoundError(f"There are no bundles in {folder}; give the checkout of the project by --repository.")
    if unknown := [name for name in names if name not in known]:
        raise FileNotFoundError(f"There is no bundle {unknown[0]} in {folder}; there are {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names or known)]


def collect_files(bundle: Path, repository: str | os.PathLike) -> dict[str, bytes | Path]:
    """Return what a release of ``bundle`` holds, but for ``models/model.ts``, by path within it.

    To the bundle's own files come, from the repository's ``common/``, the package ``seq2seq_mri``, and of the others
    the modules that the bundle's configurations name and what these import; ``requirements.txt``, the packages that
    setup.cfg requires; and in ``docs/images/`` the pictures to which its documentation links, whose links are changed.

    Raises:
        FileNotFoundError: when a file is missing that every bundle has.
        ValueError: when there is a file that is not to be published, or documentation that links to nothing.
    """
    repository = Path(repository)
    for name in _REQUIRED:
        if not (bundle / name).is_file():
            raise FileNotFoundError(f"{bundle / name} does not exist; every bundle has one.")
    if not (bundle / _WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{bundle / _WEIGHTS} does not exist: a release needs trained weights. Train the bundle and put its "
            "checkpoint there, or release the others by giving their names."
        )
    files: dict[str, bytes | Path] = {}
    for path in sorted(bundle.rglob("*")):
        relative = path.relative_to(bundle)
        if path.is_symlink():
            raise ValueError(f"{path} is a link; a release holds files only.")
        if path.is_dir():
            continue
        # Not PurePath.match, which looks at the end of the path only.
        if not any(PurePosixPath(form).parent == relative.parent and relative.match(form) for form in _PUBLISHED):
            raise ValueError(f"{path} is not a file that a bundle publishes ({', '.join(_PUBLISHED)}); remove it.")
        files[relative.as_posix()] = path
    files |= _modules(bundle, repository / "common")
    files["requirements.txt"] = _requirements(repository / "setup.cfg")
    for document in [name for name in files if name.startswith("docs/") and name.endswith(".md")]:
        files |= _with_pictures(document, bundle, repository)
    return files


def neighbours(bundle: Path) -> list[str]:
    """Return the names of the bundles that the configurations of ``bundle`` look for beside it."""
    return sorted(set(_NEIGHBOUR.findall(_configurations(bundle))))


def _configurations(bundle: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(bundle.glob("configs/*.json")))


def _modules(bundle: Path, common: Path) -> dict[str, bytes | Path]:
    """Return the core, and the modules of the other packages that it and the bundle's configurations need."""
    if not (common / CORE / "__init__.py").is_file():
        raise FileNotFoundError(f"{common / CORE} is not the package; give the project's checkout by --repository.")
    core = []
    for path in sorted((common / CORE).rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        if path.suffix not in (".py", ".pyi", ".typed") or path.is_symlink():
            raise ValueError(f"{path} is not a Python file, and all that the package publishes is; remove it.")
        core.append(path)
    named = set(_files_of(_NAME.findall(_configurations(bundle)), common))
    if any(path.relative_to(common).parts[0] == "mri_phantom" for path in named):
        named.add(common / "mri_phantom" / "__main__.py")  # so that its users can simulate what they try it on
    found = set(core)
    waiting = [*core, *named]
    while waiting:
        path = waiting.pop()
        found.add(path)
        if path.suffix == ".py":
            waiting += set(_files_of(_imports(path), common)) - found
    return {path.relative_to(common).as_posix(): path for path in sorted(found)}


def _imports(path: Path) -> Iterator[str]:
    """Give the dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(names: Iterable[str], common: Path) -> Iterator[Path]:
    """Give the files of the modules of ours in dotted names, and of the packages that they are in."""
    for name in names:
        parts = name.split(".")
        if parts[0] in PACKAGES:
            for count in range(1, len(parts) + 1):
                stem = common.joinpath(*parts[:count])
                yield from (path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file())


def _requirements(setup: Path) -> bytes:
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    try:
        lines = parser["options"]["install_requires"].split("\n")
    except KeyError as error:
        raise ValueError(f"{setup} does not say what the package requires (options, install_requires).") from error
    return "".join(f"{line.strip()}\n" for line in lines if line.strip()).encode()


def _with_pictures(document: str, bundle: Path, repository: Path) -> dict[str, bytes | Path]:
    """Return a document with its links to the repository's pictures changed, and these pictures."""
    path = bundle / document
    text = path.read_text(encoding="utf-8")
    files: dict[str, bytes | Path] = {}
    for link in sorted(set(_LINK.findall(text))):
        if re.match(r"[a-z]+:|#", link):
            continue
        target = (path.parent / link.split("#")[0]).resolve()
        if not target.is_file():
            raise ValueError(f"{path} links to {link}, which does not exist.")
        if target.parent == (repository / _IMAGES).resolve():
            name = f"{_IMAGES}/{target.name}"
            files[name] = target
            text = text.replace(f"]({link})", f"](../{name})")
        elif not target.is_relative_to(bundle.parent.resolve()):
            raise ValueError(f"{path} links to {link}, which is not in a release; give an address on the web.")
    return files | {document: text.encode()}
