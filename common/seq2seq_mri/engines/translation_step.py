# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator's losses for one batch: every source is encoded once, every needed translation decoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from seq2seq_mri.engines.pairs import PairPolicy, choose_cycle_targets, choose_pairs
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices
from seq2seq_mri.transforms.slice_stack import network_input

__all__ = ["Encodings", "StepOutput", "TranslationStep", "Translations"]


@dataclass
class Encodings:
    """Sources of a batch with their features.

    Attributes:
        subject: long tensor ``[n]``, position in the batch.
        source: long tensor ``[n]``, position in the sequence table.
        features: encoder output ``[n, F, *reduced]``.
    """

    subject: torch.Tensor
    source: torch.Tensor
    features: torch.Tensor


@dataclass
class Translations:
    """Decoded images of targets that have the same number of timepoints.

    Attributes:
        encoding: long tensor ``[n]``, which encoding each was decoded from.
        target: long tensor ``[n]``, position in the sequence table.
        prediction: ``[n, T, C, *spatial]``.
    """

    encoding: torch.Tensor
    target: torch.Tensor
    prediction: torch.Tensor


@dataclass
class StepOutput:
    """What a step computed.

    Attributes:
        loss: the weighted sum of all terms, a scalar with a graph.
        terms: each term before weighting, detached scalars.
        encodings: the encoded sources.
        translations: the decoded images, one group for each number of timepoints.
    """

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    encodings: Encodings
    translations: list[Translations]


class TranslationStep:
    """Computes Eq. 1 (reconstruction), Eq. 2 (the generator's adversarial part) and Eq. 3 (cycle) for a batch.

    A term is averaged over the translations of a subject and then over subjects, so that a subject with few sequences
    counts as much as a complete one, and two half batches average to the whole one.

    Args:
        generator: the network that is trained.
        loss: the terms and their weights; terms of weight zero are not computed.
        pairs: which available pairs are reconstructed, see :func:`~seq2seq_mri.engines.pairs.choose_pairs`.
        cycles: which sequences cycles pass through, see
            :func:`~seq2seq_mri.engines.pairs.choose_cycle_targets`.
        discriminators: one D_j per sequence; needed when the adversarial weight is not zero.

    Raises:
        ValueError: when the adversarial term has weight but there are no discriminators.
    """

    def __init__(
        self,
        generator: Seq2SeqGenerator,
        loss: Seq2SeqLoss,
        *,
        pairs: PairPolicy = "random",
        cycles: Literal["random", "all"] = "random",
        discriminators: SequenceDiscriminators | None = None,
    ) -> None:
        if loss.lambda_adversarial > 0 and discriminators is None:
            raise ValueError("lambda_adversarial is above 0 but there are no discriminators; add them or set it to 0.")
        self.generator = generator
        self.loss = loss
        self.pairs = pairs
        self.cycles = cycles
        self.discriminators = discriminators
        self._names = list(generator.sequences)
        self._timepoints = torch.tensor(list(generator.sequences.values()))
        self._channels = list(channel_slices(generator.sequences).values())

    def __call__(self, image: torch.Tensor, available: torch.Tensor) -> StepOutput:
        """Compute the losses of one batch.

        Args:
            image: ``[B, sum of T, *patch]``, all timepoints of all sequences, intensities in [0, 1].
            available: bool ``[B, S]``.
        """
        wanted = choose_pairs(available, self.pairs)
        nothing = torch.zeros_like(wanted)
        cycles = choose_cycle_targets(wanted, self.cycles) if self.loss.lambda_cycle > 0 else nothing
        encodings = self.encode(image, wanted.any(dim=2))
        decoded = self.decode(encodings, wanted | cycles, image)

        sums: dict[str, torch.Tensor] = {}
        for group in decoded:
            self._add_translation_terms(sums, group, encodings, wanted, image)
            if self.loss.lambda_cycle > 0:
                self._add_cycle_term(sums, group, encodings, cycles, image)
            if self.discriminators is not None and self.loss.lambda_adversarial > 0:
                self._add_adversarial_term(sums, group, encodings, wanted | cycles)
        total = self.loss.total(sums)
        return StepOutput(total, {name: term.detach() for name, term in sums.items()}, encodings, decoded)

    def view(self, image: torch.Tensor, subject: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
        """Return ``[n, T, C, *spatial]``: sequence ``sequence[k]`` of subject ``subject[k]`` as the network sees it.

        All asked-for sequences must have the same number of timepoints.
        """
        dims = self.generator.spatial_dims
        rows = [
            network_input(image[b : b + 1], self._channels[s], dims)
            for b, s in zip(subject.tolist(), sequence.tolist(), strict=True)
        ]
        return torch.cat(rows)

    def encode(self, image: torch.Tensor, sources: torch.Tensor) -> Encodings:
        """Encode every source marked in ``sources`` (bool ``[B, S]``), those of equal timepoints in one batch."""
        subject, source = torch.nonzero(sources, as_tuple=True)
        timepoints = self._timepoints[source]
        order = torch.argsort(timepoints, stable=True)
        subject, source, timepoints = subject[order], source[order], timepoints[order]
        parts = [
            self.generator.encode(self.view(image, subject[timepoints == t], source[timepoints == t]))
            for t in timepoints.unique()
        ]
        return Encodings(subject, source, torch.cat(parts))

    def decode(self, encodings: Encodings, pairs: torch.Tensor, image: torch.Tensor) -> list[Translations]:
        """Decode every marked pair (bool ``[B, S, S]``), targets of equal timepoints in one batch."""
        encoding, target = torch.nonzero(pairs[encodings.subject, encodings.source], as_tuple=True)
        return self._decode(encodings.features, encoding, target, image)

    def _decode(
        self, features: torch.Tensor, encoding: torch.Tensor, target: torch.Tensor, image: torch.Tensor
    ) -> list[Translations]:
        spatial_size = list(image.shape[2 : 2 + self.generator.spatial_dims])
        groups = []
        for t in self._timepoints[target].unique().tolist():
            chosen = self._timepoints[target] == t
            # The ConvLSTM does not see the target: once for each encoding, not for each translation.
            used, position = encoding[chosen].unique(return_inverse=True)
            recurred = self.generator.recur(features[used.to(features.device)], t)
            codes = torch.nn.functional.one_hot(target[chosen], len(self._names)).to(image.device, torch.float32)
            prediction = self.generator.render(recurred[position.to(features.device)], codes, spatial_size)
            groups.append(Translations(encoding[chosen], target[chosen], prediction))
        return groups

    def _add_translation_terms(
        self, sums: dict, group: Translations, encodings: Encodings, wanted: torch.Tensor, image: torch.Tensor
    ) -> None:
        subject, weight = _weights(group, encodings, wanted)
        chosen = weight > 0
        if not bool(chosen.any()):
            return
        truth = self.view(image, subject[chosen], group.target[chosen])
        terms = self.loss.translation(group.prediction[chosen.to(image.device)], truth)
        for name, values in terms.items():
            _add(sums, name, values, weight[chosen])

    def _add_cycle_term(
        self, sums: dict, group: Translations, encodings: Encodings, cycles: torch.Tensor, image: torch.Tensor
    ) -> None:
        subject, weight = _weights(group, encodings, cycles)
        chosen = torch.nonzero(weight > 0)[:, 0]
        if len(chosen) == 0:
            return
        source = encodings.source[group.encoding][chosen]
        features = self.generator.encode(group.prediction[chosen.to(image.device)])
        for back in self._decode(features, torch.arange(len(chosen)), source, image):
            part = chosen[back.encoding]
            truth = self.view(image, subject[part], back.target)
            _add(sums, "cycle", self.loss.cycle(back.prediction, truth), weight[part])

    def _add_adversarial_term(
        self, sums: dict, group: Translations, encodings: Encodings, decoded: torch.Tensor
    ) -> None:
        if self.discriminators is None:
            return
        _, weight = _weights(group, encodings, decoded)
        for index in group.target.unique().tolist():
            chosen = group.target == index
            logits = self.discriminators(group.prediction[chosen.to(group.prediction.device)], self._names[index])
            _add(sums, "adversarial", self.loss.adversarial(logits), weight[chosen])


def _weights(group: Translations, encodings: Encodings, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each translation's subject, and its weight in the mean over the marked pairs: 0 if it is not marked."""
    subject = encodings.subject[group.encoding]
    marked = pairs[subject, encodings.source[group.encoding], group.target]
    per_subject = pairs.sum(dim=(1, 2))
    return subject, marked / (per_subject[subject].clamp(min=1) * len(pairs))


def _add(sums: dict[str, torch.Tensor], name: str, values: torch.Tensor, weight: torch.Tensor) -> None:
    term = (values * weight.to(values.device)).sum()
    sums[name] = sums[name] + term if name in sums else term
