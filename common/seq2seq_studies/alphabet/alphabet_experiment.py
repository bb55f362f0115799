# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The alphabet experiment: compares how many subjects a classifier of letters needs with and without M_d.

Source: Han et al., Medical Image Analysis 2024, section 4.1, Fig. 3 and Fig. 4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, DeleteItemsd, SqueezeDimd

from seq2seq_mri.evaluation.page import markdown_table
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.inference.generator_bundle import generator_fingerprint
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import SequenceTranslator
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.training.classifier_images import SampleLookup
from seq2seq_mri.transforms.select_channels import MAP_SUFFIX
from seq2seq_studies.alphabet.alphabet import ALPHABET_SEQUENCES, AlphabetDataset
from seq2seq_studies.alphabet.alphabet_figures import alphabet_examples, learning_curve_figure
from seq2seq_studies.alphabet.differentiation_cache import DifferentiationDataset
from seq2seq_studies.alphabet.glyphs import LETTERS
from seq2seq_studies.alphabet.learning_curve import accuracy_gains, format_accuracy_gains, run_learning_curve
from seq2seq_studies.classification.classifier_fit import ClassifierFit
from seq2seq_studies.study_run import write_text

__all__ = ["AlphabetExperiment", "format_letter_differentiation", "letter_differentiation"]

logger = logging.getLogger(__name__)

_EXAMPLES = 4  # test subjects in the figure


@dataclass
class AlphabetExperiment:
    """Computes M_d of all subjects with a trained generator, and the learning curves with and without it.

    For each image there are two classifiers: of the image, and of the image with its M_d. Both learn its differing
    letter, 26 classes, from the same subjects.

    Args:
        output_dir: receives ``maps/SECTION`` (M_d of all subjects), ``letters.csv`` (M_d inside the differing and the
            common letter), ``examples.png`` (Fig. 3 with M_d), ``learning_curve.csv`` and ``.png`` (Fig. 4),
            ``gains.csv``, and ``results.md`` with the tables. Finished parts are not computed again.
        generator: the trained generator of the two images, on the device to compute on.
        inferer: translates the images; its ``include_self`` says which mean M_d takes (Eq. 5).
        network: builds a classifier of 26 letters for a number of input channels: ``network(in_channels=2)``.
        sizes: numbers of training subjects; the paper has 3,000 to 9,000.
        seeds: each with its own training subjects and its own training.
        validation_subjects: their number.
        test_subjects: their number.
        shape: pixels of an image.
        data_seed: of the subjects.
        device: where to train classifiers.
        settings: those of :class:`ClassifierSettings`.
    """

    output_dir: Path
    generator: SequenceTranslator
    inferer: SliceTranslationInferer
    network: Callable[..., torch.nn.Module]
    sizes: Sequence[int] = (3000, 4000, 5000, 6000, 7000, 8000, 9000)
    seeds: Sequence[int] = (0, 1, 2)
    validation_subjects: int = 1000
    test_subjects: int = 10000
    shape: Sequence[int] = (128, 128)
    data_seed: int = 0
    device: torch.device | str = "cpu"
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.output_dir = Path(self.output_dir)
        counts = {"training": max(self.sizes), "validation": self.validation_subjects, "testing": self.test_subjects}
        self.subjects = {
            section: AlphabetDataset(section, count, seed=self.data_seed, shape=self.shape)
            for section, count in counts.items()
        }
        self.settings = {"num_classes": len(LETTERS), **self.settings}

    def run(self) -> pd.DataFrame:
        """Run the experiment, or what is left of it.

        Returns:
            The table of ``learning_curve.csv``.

        Raises:
            ValueError: when ``output_dir`` holds another experiment.
        """
        check_writable_directory(self.output_dir)
        self.generator.eval()
        samples = {
            section: DifferentiationDataset(subjects, self.generator, self.output_dir / "maps" / section, self.inferer)
            for section, subjects in self.subjects.items()
        }
        tested = samples["testing"]
        letters = letter_differentiation(tested[index] for index in range(len(tested)))
        write_records(self.output_dir / "letters.csv", letters, overwrite=True)
        of_letters = format_letter_differentiation(letters)
        logger.info(f"M_d inside the letters:\n{of_letters}")
        shown = [tested[index] for index in range(min(_EXAMPLES, len(tested)))]
        save_figure(alphabet_examples(shown), self.output_dir / "examples.png", overwrite=True)

        curve = self._learning_curve(samples)
        pairs = {image: [image, image + MAP_SUFFIX] for image in ALPHABET_SEQUENCES}
        gains = accuracy_gains(curve, pairs)
        write_records(self.output_dir / "gains.csv", gains, overwrite=True)
        text = format_accuracy_gains(gains)
        logger.info(f"Accuracy of the differing letter:\n{text}")
        write_text(self.output_dir / "results.md", f"{of_letters}\n\n{text}")
        names = {image + MAP_SUFFIX: f"{image} and its M_d" for image in ALPHABET_SEQUENCES}
        figure = learning_curve_figure(curve, pairs, 1 / len(LETTERS), names)
        save_figure(figure, self.output_dir / "learning_curve.png", overwrite=True)
        return curve

    def _learning_curve(self, samples: Mapping[str, DifferentiationDataset]) -> pd.DataFrame:
        """Train and test all classifiers, on images in memory: drawing one takes as long as to train on it."""
        keep = Compose([DeleteItemsd("masks"), SqueezeDimd(["image", "differentiation"], dim=-1)])
        # A torch data set is the sequence that MONAI asks for, and does not declare it.
        in_memory = [CacheDataset(part, keep, copy_cache=False) for part in samples.values()]  # type: ignore[arg-type]
        fit = ClassifierFit(
            SampleLookup(*in_memory),
            ALPHABET_SEQUENCES,
            self.network,
            self.output_dir / "trainings",
            device=self.device,
            settings=self.settings,
        )
        entries = {section: subjects.entries for section, subjects in self.subjects.items()}
        for image in ALPHABET_SEQUENCES:
            curve = run_learning_curve(
                entries,
                fit,
                self.sizes,
                self.output_dir,
                inputs={image: {"channels": [image]}, image + MAP_SUFFIX: {"channels": [image, image + MAP_SUFFIX]}},
                label=image,
                seeds=self.seeds,
                settings={
                    **self.settings,
                    "generator": generator_fingerprint(self.generator),
                    "subjects": self.subjects["training"].parameters,
                },
            )
        return curve


def letter_differentiation(samples: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Compare M_d inside the letter that an image alone shows with M_d inside the one that both show (Fig. 3).

    Args:
        samples: of :class:`DifferentiationDataset`.

    Returns:
        Table with a row for each image: ``image``; ``differing`` and ``common``, the mean over subjects of the mean M_d
        inside the image's own letter and inside the common one, in units of the intensity range; ``ratio``, the first
        divided by the second; ``right``, the fraction of subjects in which the differing letter has the larger mean;
        ``n``, the number of subjects.
    """
    inside = []
    for sample in samples:
        masks, maps = np.asarray(sample["masks"]).astype(bool), np.asarray(sample["differentiation"], dtype=np.float64)
        inside.append([[maps[image][masks[image]].mean(), maps[image][masks[2]].mean()] for image in range(2)])
    means = np.asarray(inside)
    differing, common = means.mean(axis=0).T
    right = (means[:, :, 0] > means[:, :, 1]).mean(axis=0)
    columns = {"image": list(ALPHABET_SEQUENCES), "differing": differing, "common": common, "ratio": differing / common}
    return pd.DataFrame({**columns, "right": right, "n": len(means)})


def format_letter_differentiation(table: pd.DataFrame) -> str:
    """Return the table of :func:`letter_differentiation` as Markdown."""
    means = "Mean M_d, differing letter", "Mean M_d, common letter"
    header = ["Image", "Subjects", *means, "Ratio", "Differing > common"]
    forms = {"image": "s", "n": ",d", "differing": ".4f", "common": ".4f", "ratio": ".1f", "right": ".1%"}
    rows = [[format(row[name], form) for name, form in forms.items()] for row in table.to_dict("records")]
    return markdown_table(header, [[cell.replace("%", " %") for cell in row] for row in rows])
