# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether results on disk belong to the protocol that is asked for, so that it may go on with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq_mri.files import atomic_path

__all__ = ["claim_directory"]


def claim_directory(
    path: Path, content: Mapping[str, Any], resume: bool, growing: tuple[str, ...] = (), part: str = "protocol"
) -> None:
    """Record in a JSON file what the results beside it depend on, or check that it is what the file says.

    Args:
        path: the JSON file.
        content: what the results depend on; can be written as JSON.
        resume: whether an existing file is allowed.
        growing: keys of ``content`` whose value is a mapping to which entries may be added later.
        part: the key of the file under which the content stands; others are left alone.

    Raises:
        FileExistsError: when the file has this part and ``resume`` is false.
        ValueError: when the file says otherwise, naming what differs, or the content cannot be written as JSON.
    """
    try:
        wanted = json.loads(json.dumps(content))
    except TypeError as error:
        raise ValueError(
            f"Inputs, candidates and settings must be numbers, texts, lists or mappings: {error}."
        ) from error
    recorded: dict[str, Any] = {}
    if path.exists():
        try:
            recorded = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}); remove the directory's results and start anew.") from error
    earlier = recorded.get(part)
    if earlier is not None:
        if not resume:
            raise FileExistsError(
                f"{path.parent} holds results already. Go on with them by resume true, or give another output_dir."
            )
        for key in wanted:
            before, now = earlier.get(key), wanted[key]
            if key in growing:
                before, added = before or {}, now
                now = {name: added.get(name, value) for name, value in before.items()}
                wanted[key] = {**before, **added}
            if before != now:
                raise ValueError(
                    f"The results in {path.parent} are of another protocol: {key} was {_short(before)} and is "
                    f"{_short(now)}. Give another output_dir, or what they were made with."
                )
    if wanted != earlier:
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps({**recorded, part: wanted}, indent=4) + "\n", encoding="utf-8")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:200] + " …"
