"""The page that plans, in a real browser: its sliders ask the server, and it says what it heard."""

import re

import pytest
from playwright.sync_api import expect


@pytest.fixture
def plan(window):
    """The page as it opens: Mistral 7B on an H200."""
    page = window.open("#/plan")
    page.locator(".plan-answer").wait_for()
    return page


def figures(page, name):
    """A row of the table: MHA, GQA, MQA."""
    return (
        page.get_by_role("row", name=re.compile(f"^{name}")).get_by_role("cell").all_text_contents()
    )


def move(page, label, key, times=1):
    slider = page.get_by_role("slider", name=label)
    for _ in range(times):
        slider.press(key)


def test_the_post_is_answered_in_a_sentence(plan):
    """What grouped-query attention buys where memory is full, and for a sequence alone."""
    expect(plan.locator(".plan-sentence")).to_contain_text("tokens a second")
    expect(plan.locator(".section-words").first).to_contain_text(
        "4.06 times the tokens of multi-head attention with the memory full: "
        "209 sequences against 51, and 1.22 times for one sequence alone"
    )
    assert figures(plan, "A token keeps") == ["512 KiB", "128 KiB", "16 KiB"]


def test_a_slider_plans_anew_and_stands_in_the_address(plan):
    move(plan, "KV heads", "Home")

    expect(plan.locator(".plan-controls")).to_contain_text("all query heads share one")
    expect(plan.get_by_role("columnheader", name="MQA")).to_contain_text("as asked")
    assert "n_kv_heads=1" in plan.url
    plan.reload()
    expect(plan.locator(".plan-controls")).to_contain_text("all query heads share one")


def test_without_a_window_a_sequence_keeps_everything(plan):
    move(plan, "Context", "End")
    expect(plan.get_by_role("slider", name="Context")).to_have_attribute(
        "aria-valuetext", "32,768 tokens"
    )
    assert figures(plan, "A sequence keeps") == ["2.01 GiB", "514 MiB", "64.3 MiB"]

    move(plan, "Window", "End")

    expect(plan.get_by_role("row", name=re.compile("^A sequence keeps"))).to_contain_text("16 GiB")
    assert "window=none" in plan.url


def test_what_does_not_fit_is_said(plan):
    plan.get_by_label("Model").select_option("llama-2-13b")
    plan.get_by_label("Machine").select_option("l4")
    plan.get_by_label("Weights").select_option("bfloat16")

    expect(plan.locator(".plan-sentence")).to_contain_text("It does not fit")


def test_a_price_of_ones_own_gives_the_cost(plan):
    plan.get_by_label("Price of an hour").fill("7.60")
    plan.get_by_label("Price of an hour").press("Tab")

    expect(plan.locator(".plan-sentence")).to_contain_text("$0.381")
    plan.get_by_role("button", name="Price: back to the default").click()
    expect(plan.locator(".plan-sentence")).to_contain_text("$0.19")


def test_curves_are_read_by_keys(plan):
    chart = plan.get_by_role("application", name=re.compile("^Tokens a second by context"))

    chart.press("ArrowRight")

    expect(chart.get_by_role("status")).to_contain_text("tokens of context 128")
    expect(chart.get_by_role("status")).to_contain_text("GQA-8")


def test_a_wrong_address_is_refused_in_words(window):
    page = window.open("#/plan?context=0")

    expect(page.get_by_role("alert")).to_contain_text("/context")


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_screen(window, width):
    window.page.set_viewport_size({"width": width, "height": 800})
    page = window.open("#/plan")
    page.locator(".plan-answer").wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") == width
