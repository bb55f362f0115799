# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks measure with: clocks, matrix products, the machine's description."""

from __future__ import annotations

import json

import pytest
import torch

from machine import MatrixProduct, checked_device, describe_machine, machine_name, matrix_products
from seq2seq_studies.comparison.resources import count_gmacs
from timing import describe_products, fraction_of_peak, interleaved_seconds, ratios

CPU = torch.device("cpu")


def test_variants_run_in_turn_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    variants = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved_seconds(variants, rounds=3, device=CPU, warm_up=2)
    assert order == ["a", "b"] * 5
    assert [len(taken) for taken in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_over_rounds() -> None:
    # The medians' ratio would be 4 / 2.
    assert ratios([2.0, 4.0, 30.0], [1.0, 4.0, 2.0]) == 2.0
    assert ratios([1.0, 9.0, 6.0], [1.0, 3.0, 1.0]) == 3.0


def test_the_machine_is_described_in_json_without_paths() -> None:
    facts = describe_machine(CPU)
    assert {"cpu", "cores", "threads", "torch", "date"} <= set(facts)
    assert "/" not in json.dumps(facts)
    assert machine_name(CPU)
    assert set(machine_name(CPU)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


def test_matrix_products_count_their_multiply_adds() -> None:
    products = matrix_products(CPU, quick=True)
    assert set(products) == {"float32", "bfloat16"}
    for product in products.values():
        product()
        assert product.gmacs == pytest.approx(
            count_gmacs(lambda product=product: torch.mm(product.left, product.right))
        )
    torch.testing.assert_close(products["float32"].result, products["float32"].left @ products["float32"].right)


def test_a_busy_machine_is_told(capsys) -> None:
    product = MatrixProduct(CPU, torch.float32, 256)
    product()
    product._seconds, product._processor_seconds = 2.0, 1.9 * torch.get_num_threads()
    assert describe_products({"float32": product}, {"float32": [1.0]})["float32"]["processor_share"] == 0.95
    assert not capsys.readouterr().out
    product._processor_seconds = 1.0 * torch.get_num_threads()
    described = describe_products({"float32": product}, {"float32": [2.0, 1.0, 4.0]})["float32"]
    assert described["processor_share"] == 0.5
    assert described["gflops"] == product.gmacs
    assert "got 50% of their threads' time" in capsys.readouterr().out


def test_the_fraction_of_peak_compares_within_rounds() -> None:
    # Half the rate of the product in each round, though the machine was three times as slow in the second.
    assert fraction_of_peak(1.0, [1.0, 3.0, 1.0], 2.0, [1.0, 3.0, 1.0]) == 0.5
    assert fraction_of_peak(2.0, [1.0], 8.0, [2.0]) == 0.5


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match="give cpu or cuda"):
        checked_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no GPU"):
            checked_device("cuda")
