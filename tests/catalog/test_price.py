"""Neurons, to the last digit."""

from pathlib import Path

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.catalog.price import MICRO, Price

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


def test_the_documented_example():
    price = Catalog(Path("none")).find(MISTRAL).price

    assert price.neurons(100, 200) == pytest.approx(4.46, abs=1e-12)


@pytest.mark.parametrize(
    ("model_id", "price"),
    [
        (MISTRAL, Price(10_000, 17_300)),
        ("@cf/meta/llama-2-7b-chat-fp16", Price(50_505, 606_061)),
        (EMBEDDED_MODEL_ID, Price(250, 1_800)),
    ],
)
def test_listed_prices(model_id, price):
    assert Catalog(Path("none")).find(model_id).price == price


def test_every_listed_model_has_a_price():
    assert all(entry.price.prompt and entry.price.output for entry in Catalog(Path("none")).entries)


def test_a_model_of_ones_own_costs_nothing_and_a_listed_one_keeps_its_price(tmp_path):
    catalog = Catalog(tmp_path, {"@me/mine": tmp_path, MISTRAL: tmp_path})

    assert catalog.find("@me/mine").price == Price(0, 0)
    assert catalog.find(MISTRAL).price == Price(10_000, 17_300)


def test_many_small_costs_add_up_exactly():
    price = Price(10_000, 17_300)

    total = sum(price.micro_neurons(n, 3 * n) for n in range(1000))

    assert total == price.micro_neurons(499_500, 3 * 499_500)
    assert round(price.neurons(7, 13) * MICRO) == price.micro_neurons(7, 13)


def test_tokens_of_no_number_cost_nothing():
    assert Price(10_000, 17_300).neurons(0, 0) == 0.0
