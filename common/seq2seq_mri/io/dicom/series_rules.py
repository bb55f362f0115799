# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Matches the series of a DICOM study to MRI sequences, by rules that a user can edit.

A file of rules is YAML (or JSON)::

    minimum_slices: 10
    rules:
      - {sequence: none, because: a localiser, description: 'locali[sz]er|scout'}
      - {sequence: flair, description: flair}
      - {sequence: t1gd, description: 't1', contrast_agent: true}
      - {sequence: t1, echo_time: {max: 20}, repetition_time: {max: 900}, inversion_time: absent}

The first rule whose conditions all hold for a series says which sequence it is; ``none`` says that it is not taken, as
are series of fewer slices than ``minimum_slices``. What a user assigns by hand goes before the rules.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from seq2seq_mri.io.dicom.dicom_study import NUMBERS, TEXTS, StudySeries
from seq2seq_mri.sequences import sequence_index

__all__ = ["Rule", "SeriesChoice", "SeriesRules", "choose_series", "parse_chosen", "read_series_rules"]

_NUMBERS = (*NUMBERS, "b_value", "slices", "orientations")
_CONDITIONS = (*TEXTS, *(f"not_{name}" for name in TEXTS), *_NUMBERS, "contrast_agent")
_NOT_TAKEN = "none"


@dataclass(frozen=True)
class Rule:
    """One rule: what a series is for which all conditions hold.

    Attributes:
        sequence: its sequence; ``None`` when it is not to be taken.
        because: why a series is not taken, for messages.
        combine: whether several series that the rule fits are the timepoints of the sequence, such as a series for each
            frame of a DCE; otherwise two are one too many.
    """

    sequence: str | None
    conditions: Mapping[str, object]
    because: str = ""
    combine: bool = False

    def fits(self, series: StudySeries) -> bool:
        """Return whether all conditions hold for ``series``."""
        return all(_holds(name, demanded, series) for name, demanded in self.conditions.items())


@dataclass(frozen=True)
class SeriesRules:
    """A file of rules, in the order in which they are tried; a series of fewer slices is not taken."""

    path: Path
    minimum_slices: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class SeriesChoice:
    """Which series of a study are taken.

    Attributes:
        sequences: sequence → its series, more than one only where they are its timepoints; in the table's order.
        left: every other series, and why it is not taken.
    """

    sequences: dict[str, list[StudySeries]]
    left: list[tuple[StudySeries, str]]


def read_series_rules(path: str | os.PathLike, sequences: Mapping[str, int]) -> SeriesRules:
    """Read a file of rules.

    A rule has ``sequence``, a name of the table or ``none``, and conditions:

    - ``description`` (SeriesDescription, else ProtocolName), ``protocol``, ``sequence_name``, ``scanning_sequence``,
      ``sequence_variant``, ``image_type`` (parts joined by a backslash): a regular expression that is found somewhere
      in the text, upper and lower case being the same, or a list of which one is found; an underscore in the text
      counts as a blank too. With ``not_`` before the name: none is found.
    - ``echo_time``, ``repetition_time``, ``inversion_time`` (ms), ``flip_angle`` (degrees), ``echo_train_length``,
      ``b_value`` (the series' highest, s/mm²), ``slices``, ``orientations`` (directions of slices):
      ``{min: …, max: …}``, bounds included, for all images, or ``absent`` where no image may have it. A series that
      does not say fits no bounds.
    - ``contrast_agent``: ``true`` or ``false``.

    and, if wanted, ``because`` (why it is not taken) and ``combine: true`` (several such series are the timepoints).

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it is not of this form; the message names the rule.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of rules {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The rules {path} are neither YAML nor JSON: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("rules"), list):
        raise ValueError(f"The rules {path} have no list 'rules'.")
    for unknown in content.keys() - {"minimum_slices", "rules"}:
        raise ValueError(f"The rules {path} have '{unknown}'; only minimum_slices and rules are known.")
    minimum = content.get("minimum_slices", 1)
    if not isinstance(minimum, int) or minimum < 1:
        raise ValueError(f"The rules {path} have minimum_slices {minimum!r}; give a positive whole number.")
    rules = []
    for number, rule in enumerate(content["rules"], start=1):
        try:
            rules.append(_rule(rule, sequences))
        except ValueError as error:
            raise ValueError(f"Rule {number} in {path}: {error}") from error
    return SeriesRules(path, minimum, tuple(rules))


def parse_chosen(chosen: str | None, sequences: Mapping[str, int]) -> dict[str, str]:
    """Return what a user chose, ``"t1=1.2.840…,t1gd=none"``, as a mapping from sequences to values.

    Raises:
        ValueError: when it is not of this form, names a sequence twice, or one that the table does not have.
    """
    result: dict[str, str] = {}
    for item in filter(None, (chosen or "").split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            raise ValueError(f"'{item}' is not of the form SEQUENCE=SERIES, for example t1=1.2.840.113619.2.1.")
        sequence_index(sequences, name)
        if name in result:
            raise ValueError(f"The sequence '{name}' is given twice: {result[name]} and {value}.")
        result[name] = value
    return result


def choose_series(
    study: Sequence[StudySeries],
    rules: SeriesRules,
    sequences: Mapping[str, int],
    chosen: Mapping[str, str] | None = None,
) -> SeriesChoice:
    """Find the sequences among the MR series of a study.

    ``chosen`` goes before the rules: sequence → the UID or the number of its series, several joined by ``+``, or
    ``"none"`` where the sequence is to count as missing.

    Raises:
        ValueError: when two series fit one sequence, none fits any, or a chosen one does not exist or is chosen twice;
            the message lists them and says how to choose.
    """
    fixed = {name: _chosen_series(name, value, study) for name, value in (chosen or {}).items()}
    owners: dict[str, str] = {}
    for name, parts in fixed.items():
        for part in parts:
            if owners.setdefault(part.uid, name) != name:
                raise ValueError(f"{part} is chosen for both {owners[part.uid]} and {name}; choose another.")
    candidates: dict[str, list[tuple[StudySeries, Rule]]] = defaultdict(list)
    left: list[tuple[StudySeries, str]] = []
    for part in study:
        if part.uid in owners:
            continue
        rule = next((rule for rule in rules.rules if rule.fits(part)), None)
        slices = int(part.numbers["slices"][0])
        if rule is None:
            left.append((part, "no rule fits"))
        elif rule.sequence is None:
            left.append((part, rule.because or "a rule leaves it out"))
        elif slices < rules.minimum_slices:
            left.append((part, f"{slices} slices are less than {rules.minimum_slices}"))
        elif rule.sequence in fixed:
            left.append((part, f"{rule.sequence} is chosen otherwise"))
        else:
            candidates[rule.sequence].append((part, rule))
    for name, found in candidates.items():
        if len(found) > 1 and not all(rule.combine for _, rule in found):
            raise ValueError(
                f"{len(found)} series look like {name}: {', '.join(str(part) for part, _ in found)}. Choose one by "
                f"--sequences {name}={found[0][0].uid}, or by a rule in {rules.path}."
            )
    taken = fixed | {name: [part for part, _ in found] for name, found in candidates.items()}
    result = {name: taken[name] for name in sequences if taken.get(name)}
    if not result:
        reasons = "; ".join(f"{part}: {reason}" for part, reason in left)
        raise ValueError(
            f"No series of the study is recognised as one of {', '.join(sequences)} ({reasons}). Choose by --sequences "
            f"{next(iter(sequences))}=SERIES_UID, or add rules to {rules.path}."
        )
    return SeriesChoice(result, left)


def _chosen_series(name: str, value: str, study: Sequence[StudySeries]) -> list[StudySeries]:
    if value.lower() == _NOT_TAKEN:
        return []
    found = []
    for wanted in value.split("+"):
        fitting = [part for part in study if wanted.strip() in (part.uid, str(part.number))]
        if len(fitting) != 1:
            choice = ", ".join(map(str, fitting or study))
            raise ValueError(
                f"--sequences {name}={wanted}: {len(fitting) or 'no'} MR series of the study "
                f"{'have' if fitting else 'has'} this UID or number; choose from {choice}."
            )
        found += fitting
    return found


def _rule(content: object, sequences: Mapping[str, int]) -> Rule:
    if not isinstance(content, dict) or "sequence" not in content:
        raise ValueError(f"{content!r} is no mapping with 'sequence' and conditions.")
    sequence = content["sequence"]
    if sequence is not None and sequence != _NOT_TAKEN:
        sequence_index(sequences, str(sequence))
    because, combine = content.get("because", ""), content.get("combine", False)
    if not isinstance(because, str) or not isinstance(combine, bool):
        raise ValueError("'because' has to be a text and 'combine' true or false.")
    conditions = {key: value for key, value in content.items() if key not in ("sequence", "because", "combine")}
    if not conditions:
        raise ValueError(f"it has no condition; give at least one of {', '.join(_CONDITIONS)}.")
    for name, demanded in conditions.items():
        _check_condition(name, demanded)
    return Rule(None if sequence in (None, _NOT_TAKEN) else str(sequence), conditions, because, combine)


def _check_condition(name: str, demanded: object) -> None:
    if name not in _CONDITIONS:
        raise ValueError(f"unknown condition '{name}'; known are {', '.join(_CONDITIONS)}.")
    if name == "contrast_agent":
        if not isinstance(demanded, bool):
            raise ValueError(f"contrast_agent is {demanded!r}; give true or false.")
    elif name in _NUMBERS:
        bounds = demanded if isinstance(demanded, dict) else {}
        numbers = bounds and all(isinstance(bound, (int, float)) for bound in bounds.values())
        if demanded != "absent" and (not numbers or bounds.keys() - {"min", "max"}):
            raise ValueError(f"{name} is {demanded!r}; give {{min: …, max: …}}, one of the two, or absent.")
    else:
        for pattern in _patterns(demanded):
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(f"{name}: {pattern!r} is no regular expression ({error}).") from error


def _patterns(demanded: object) -> list:
    return demanded if isinstance(demanded, list) else [demanded]


def _holds(name: str, demanded: object, series: StudySeries) -> bool:
    if name == "contrast_agent":
        return series.contrast_agent == demanded
    if name in _NUMBERS:
        values = series.numbers[name]
        if not isinstance(demanded, dict):  # "absent"
            return not values
        low, high = demanded.get("min", -float("inf")), demanded.get("max", float("inf"))
        return bool(values) and all(low <= value <= high for value in values)
    text = series.texts[name.removeprefix("not_")]
    # To a regular expression an underscore is a letter: \b would not find the end of a word in "T1_POST".
    spellings = (text, text.replace("_", " "))
    found = any(
        re.search(pattern, spelling, re.IGNORECASE) for pattern in _patterns(demanded) for spelling in spellings
    )
    return found != name.startswith("not_")
