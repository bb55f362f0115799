# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Options of command lines: texts become the types that options have, and values that cannot be are refused."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import jsonschema
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import run

__all__ = ["check_options", "default_schema", "option_value", "schema_of"]

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# What a run may be given beside the options of its configuration.
_OF_MONAI = tuple(inspect.signature(ConfigWorkflow).parameters)

# A description is what an error says that may be given.
_COUNT = {"type": "integer", "minimum": 1, "description": "a whole number of at least 1"}
_NATURAL = {"type": "integer", "minimum": 0, "description": "a whole number of at least 0"}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0, "description": "a positive number"}
_WEIGHT = {"type": "number", "minimum": 0, "description": "a number of at least 0"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1, "description": "a number from 0 to 1"}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"], "description": f"{schema['description']}, or null"}


def _sizes(axes: int, of: Mapping[str, Any]) -> dict[str, Any]:
    described = f"{axes} numbers in a list, each {of['description']}"
    return {"type": "array", "items": of, "minItems": axes, "maxItems": axes, "description": described}


def _names(**more: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "minItems": 1, **more}


#: What options of configurations may be, by name, where the type of their default does not say it: JSON schemas.
SCHEMAS: dict[str, dict[str, Any]] = {
    "max_epochs": _COUNT,
    "generator_epochs": _COUNT,
    "batch_size": _COUNT,
    "generator_batch_size": _COUNT,
    "samples_per_subject": _COUNT,
    "val_interval": _COUNT,
    "val_slices": _COUNT,
    "log_interval": _COUNT,
    "repeats": _COUNT,
    "num_workers": _NATURAL,
    "figure_subjects": _NATURAL,
    "seed": _NATURAL,
    "learning_rate": _POSITIVE,
    "generator_learning_rate": _POSITIVE,
    "discriminator_learning_rate": _POSITIVE,
    "lambda_reconstruction": _WEIGHT,
    "lambda_perceptual": _WEIGHT,
    "lambda_cycle": _WEIGHT,
    "lambda_adversarial": _WEIGHT,
    "weight_decay": _WEIGHT,
    "ema_momentum": _SHARE,
    "affine_probability": _SHARE,
    "gradient_clip": _or_null(_POSITIVE),
    "slice_batch_size": _or_null(_COUNT),
    "memory_limit_mb": _or_null(_POSITIVE),
    "autocast_dtype": {"enum": [None, "bfloat16", "float16"], "description": "null, bfloat16 or float16"},
    "existing": {"enum": ["error", "skip", "overwrite"], "description": "error, skip or overwrite"},
    "inputs": _names(description="a list of names"),
    "section": _names(type=["array", "string"], minLength=1, description="a name or a list of names"),
    "class_weights": {
        "anyOf": [{"const": "balanced"}, {"type": "array", "items": _POSITIVE}, {"type": "null"}],
        "description": "balanced, a weight for each class in a list, or null",
    },
    "targets": _names(type=["array", "string"], minLength=1, description="missing, all, a name or a list of names"),
    "slice_size": _sizes(2, _COUNT),
    "crop_size": _sizes(3, _COUNT),
    "volume_size": _sizes(3, _COUNT),
    "spatial_size": _sizes(3, _COUNT),
    "spacing": _sizes(3, _POSITIVE),
}

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "true or false"),
    "integer": ((int,), "a whole number"),
    "number": ((float,), "a number"),
    "string": ((str, PathLike), "a text"),
    "array": ((list, tuple, Sequence), "a list"),
    "object": ((dict, Mapping), "a mapping"),
    "null": ((type(None),), "null"),
}


def option_value(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """Return an option's value in the type that it has to have.

    A text may be a word for true or false, or ``null``, where that is possible; a number may stand for a text, such as
    the name of a folder.

    Args:
        name: the option, for messages.
        value: as the command line's parser gives it.
        schema: JSON schema of what it may be.

    Raises:
        ValueError: when the value cannot be; the message names the option, what was given and what is possible.
    """
    value = list(value) if isinstance(value, tuple) else value
    for candidate in _readings(value, schema):
        if jsonschema.Draft202012Validator(schema).is_valid(candidate):
            return candidate
    possible = schema.get("description") or " or ".join(_TYPES[kind][1] for kind in _types(schema))
    raise ValueError(f"The option --{name} is {value!r}; give {possible}.")


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of what an argument with this type hint may be; of hints beyond the usual, anything."""
    if get_origin(hint) in (Union, UnionType):
        schemas = [schema_of(part) for part in get_args(hint)]
        types = [schema.get("type") for schema in schemas]
        return {"type": list(dict.fromkeys(types))} if all(isinstance(kind, str) for kind in types) else {}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint)), "description": " or ".join(map(str, get_args(hint)))}
    kind = get_origin(hint) or hint
    return next(({"type": name} for name, (types, _) in _TYPES.items() if kind in types), {})


def default_schema(name: str, default: Any) -> dict[str, Any]:
    """Return what an option of a configuration may be, by its name or else by its default."""
    known = SCHEMAS.get(_parts(name)[-1])
    if known is not None:
        return known
    is_open = default is None or (isinstance(default, Mapping) and "_target_" in default) or _is_evaluated(default)
    return {} if is_open else schema_of(type(default))


def _parts(name: str) -> list[str]:
    return name.replace("::", "#").split("#")


def _is_evaluated(value: Any) -> bool:
    """Return whether a value is a reference, an expression or a part of another file, whose type is not known yet."""
    return isinstance(value, str) and value.startswith(("@", "$", "%"))


def _readings(value: Any, schema: Mapping[str, Any]) -> list[Any]:
    """Return what a value may mean, the likeliest first."""
    readings = [value]
    types = _types(schema)
    if isinstance(value, str):
        if value.lower() in _WORDS and "boolean" in types:
            readings.append(_WORDS[value.lower()])
        if value.lower() in ("null", "none"):
            readings.append(None)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and "string" in types:
        readings.append(str(value))
    return [reading for reading in readings if not isinstance(reading, float) or math.isfinite(reading)]


def _types(schema: Mapping[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


def check_options() -> None:
    """Check the options of ``python -m monai.bundle run``, and give each the type that its default has.

    MONAI puts what the command line's parser makes of an option into the configuration: ``--resume false`` is a text
    there, which counts as true, and a misspelt option is one that nothing reads. The first expression of a run calls
    this, before any part of the configuration is made. The workflow whose options are changed is that of MONAI's
    ``run``, which is among the callers; MONAI hands it to no configuration. Made in Python otherwise, a workflow's
    options have their types already, and nothing happens.

    Raises:
        ValueError: when an option is unknown or its value cannot be.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not run.__code__:
        frame = frame.f_back
    if frame is None:
        return
    workflow, given, files = (frame.f_locals[name] for name in ("workflow", "override", "config_file"))
    if files is None:
        files = ConfigParser.load_config_file(frame.f_locals["args_file"])["config_file"]
    defaults = ConfigParser(ConfigParser.load_config_files(files))
    for name, value in given.items():
        if name not in _OF_MONAI and not _is_evaluated(value):
            # Also what needs no change: MONAI passes over a None, which says here that something is turned off.
            workflow.parser[name] = option_value(name, value, default_schema(name, _default(defaults, name)))


def _default(config: ConfigParser, name: str) -> Any:
    """Return what a configuration has for an option that may be given; ``None`` for a new argument of a component."""
    parts = _parts(name)
    where: Any = config.get()
    for number, part in enumerate(parts):
        if isinstance(where, list) and part.lstrip("-").isdigit() and -len(where) <= int(part) < len(where):
            where = where[int(part)]
        elif isinstance(where, dict) and part in where:
            where = where[part]
        elif isinstance(where, dict) and "_target_" in where and number == len(parts) - 1:
            return None
        else:
            known = list(where) if isinstance(where, dict) else []
            near = difflib.get_close_matches(part, known, n=1)
            meant = f"did you mean --{'#'.join([*parts[:number], near[0]])}?" if near else "the docs list them."
            raise ValueError(f"There is no option --{name}; {meant}")
    return where
