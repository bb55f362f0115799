# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Bundles' configs in one form: ``python -m tools.format_configs`` rewrites those of a checkout.

What holds no object stands on one line where it fits, all else is indented by four.
"""

from __future__ import annotations

import json
from pathlib import Path

from seq2seq_mri.files import atomic_path

__all__ = ["format_config"]

_WIDTH = 120

Json = dict | list | str | float | bool | None


def format_config(content: Json) -> str:
    """Return the text of a config."""
    return f"{_formatted(content, indent=0, start=0)}\n"


def _formatted(content: Json, indent: int, start: int) -> str:
    """Return JSON whose first line starts at the column ``start``."""
    line = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, (dict, list)) or not content:
        return line
    if isinstance(content, dict):
        keys, inner = [f"{json.dumps(key, ensure_ascii=False)}: " for key in content], list(content.values())
    else:
        keys, inner = [""] * len(content), content
    if not any(isinstance(value, dict) for value in inner) and start + len(line) < _WIDTH:
        return line
    padding = " " * (indent + 4)
    parts = [
        f"{padding}{key}{_formatted(value, indent + 4, indent + 4 + len(key))}"
        for key, value in zip(keys, inner, strict=True)
    ]
    first, last = "{}" if isinstance(content, dict) else "[]"
    return "\n".join([first, ",\n".join(parts), f"{' ' * indent}{last}"])


def main() -> None:
    """Rewrite the configs of all bundles."""
    for path in sorted(Path("bundles").glob("*/configs/*.json")):
        text = path.read_text(encoding="utf-8")
        formatted = format_config(json.loads(text))
        if formatted != text:
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(formatted, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
