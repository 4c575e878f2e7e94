"""The page that looks inside, in a real browser: what it shows is what the engine says."""

import json
import re

import pytest
from playwright.sync_api import expect

QUESTION = "the cat sat on the mat, and query heads share what they keep of the cat on the mat"


@pytest.fixture
def inside(window):
    """The page, with a conversation of one question and its answer at hand."""
    return opened_inside(window)


def opened_inside(window):
    page = window.open()
    window.answer_with("The cat", " sat.")
    window.send(QUESTION)
    window.wait_for_answers()
    page.unroute_all()
    page.goto(f"{window.server.url}/#/inside")
    page.locator(".big-map").wait_for()
    return page


def inspections(window):
    """What the page asked to look at, in order."""
    posts = [one for one in window.asked if "/ai/inspect/" in one.url and one.method == "POST"]
    return [json.loads(one.post_data or "") for one in posts]


def test_the_tokens_are_those_of_the_conversation(window, inside):
    chips = inside.locator(".chip").all_text_contents()

    text = "".join(chips).replace("·", " ")
    assert text == f"<s>[INST]{QUESTION}[/INST]The cat sat."
    (asked, *_) = inspections(window)
    assert [turn["content"] for turn in asked["messages"]] == [QUESTION, "The cat sat."]
    expect(inside.get_by_text("The conversation at hand as @test/tiny reads it")).to_be_visible()


def test_one_layer_is_asked_for_at_a_time_and_only_once(window, inside):
    picker = inside.get_by_role("group", name="Layer").last
    assert [one["layers"] for one in inspections(window)] == [[1]]

    picker.get_by_label("1", exact=True).check()
    expect(inside.locator(".large-map")).to_contain_text("Layer 1, head 1")
    picker.get_by_label("2", exact=True).check()
    expect(inside.locator(".large-map")).to_contain_text("Layer 2, head 1")

    assert [one["layers"] for one in inspections(window)] == [[1], [0]]


def test_heads_stand_in_their_groups_as_the_models_config_says(inside):
    """Four query heads share two KV heads."""
    groups = inside.locator(".group")

    assert groups.count() == 2
    assert [groups.nth(n).get_by_role("radio").count() for n in range(2)] == [2, 2]
    own = inside.locator(".cost[data-own=true]")
    expect(own).to_contain_text("GQA · 2 KV heads")
    expect(own).to_contain_text("256 B")  # 2 · 2 layers · 2 heads · 8 numbers · 4 bytes
    expect(own.get_by_role("radio")).to_be_checked()
    drawing = inside.locator(".head-drawing")
    expect(drawing).to_have_attribute("aria-label", re.compile("4 query heads, 2 KV heads"))


def test_another_number_of_kv_heads_is_drawn_and_what_it_would_cost(inside):
    costs = inside.locator(".cost")
    assert [re.sub(r".*heads?| this model", "", text) for text in costs.all_text_contents()] == [
        "128 B", "256 B", "512 B",
    ]  # fmt: skip

    costs.first.get_by_role("radio").check()

    drawing = inside.locator(".head-drawing")
    expect(drawing).to_have_attribute("aria-label", re.compile("1 KV head: 4 share one"))
    assert inside.locator(".kv-head").count() == 1


def test_a_cell_is_read_out_by_keys_and_by_the_pointer(inside):
    readout = inside.locator(".readout")
    expect(readout).to_have_text(re.compile(r"“.+” looks at “.+”: (< )?[01]\.\d+"))
    inside.locator(".big-map").focus()

    inside.keyboard.press("ArrowUp")
    before = readout.text_content()
    for _ in range(3):
        inside.keyboard.press("Shift+ArrowLeft")

    after = readout.text_content()
    assert after != before
    box = inside.locator(".big-map canvas").bounding_box()
    inside.mouse.move(box["x"] + 2, box["y"] + 2)
    expect(readout).to_have_text("“<s>” looks at “<s>”: 1.00")


def test_what_lies_behind_the_window_is_told_and_drawn(inside):
    """The window of the tiny model is 32 tokens."""
    chips = inside.locator(".chip")
    n = chips.count()
    assert n > 40

    inside.locator(".chips").focus()
    inside.keyboard.press("End")

    assert inside.locator(".chip.unseen").count() == n - 32
    expect(inside.locator(".edge.band")).to_be_attached()
    chips.first.hover()
    expect(inside.locator(".token-detail")).to_contain_text("Behind the window")


def test_a_token_tells_what_was_expected_in_its_place(inside):
    inside.locator(".chip").nth(3).click()

    detail = inside.locator(".token-detail")
    expect(detail).to_contain_text("What the model expected here")
    assert detail.locator(".expected li").count() == 5
    expect(inside.locator(".looked-at tbody tr").first).to_be_visible()


def test_the_table_adds_up_with_what_the_server_said(inside):
    """Of the fourth token only four can be looked at, so the table has the whole row."""
    inside.locator(".chip").nth(3).click()

    shares = inside.locator(".looked-at tbody td:last-child").all_text_contents()

    assert len(shares) == 4
    assert sum(float(share.removeprefix("< ")) for share in shares) == pytest.approx(1, abs=0.02)


def test_blocks_are_seen_while_an_answer_is_made_and_again_afterwards(inside, slow_steps):
    strip = inside.locator(".strip")

    inside.get_by_role("button", name="Let it answer").click()

    expect(strip.locator(".block.gone").first).to_be_visible()
    # Window 32, blocks of 16: never more than three are held, whatever was given back.
    assert strip.locator(".block:not(.gone)").count() <= 3
    inside.get_by_role("button", name="Once more").wait_for(timeout=30_000)
    replay = inside.get_by_label("See it again")
    last = strip.get_attribute("aria-label")
    replay.fill("0")
    assert strip.get_attribute("aria-label") != last


def test_stopping_frees_the_blocks(window, inside, slow_steps):
    inside.get_by_role("button", name="Let it answer").click()
    inside.locator(".strip .block").first.wait_for()

    inside.get_by_role("button", name="Stop").click()

    expect(inside.get_by_role("button", name="Once more")).to_be_visible()
    blocks = window.server.engine.scheduler.blocks
    for _ in range(100):
        if blocks.n_free == blocks.n_blocks:
            break
        inside.wait_for_timeout(20)
    assert blocks.n_free == blocks.n_blocks


def test_without_a_conversation_an_example_is_shown_cut_to_what_fits(window):
    page = window.open("#/inside")

    page.locator(".big-map").wait_for()

    expect(page.get_by_text("An example as")).to_contain_text("without its beginning")
    assert len(inspections(window)) > 1


def test_a_refusal_is_told_and_can_be_tried_again(window):
    page = window.open()
    envelope = {"errors": [{"code": 3040, "message": "Come back later."}], "success": False}
    page.route(
        "**/ai/inspect/**", lambda route: route.fulfill(status=429, body=json.dumps(envelope))
    )
    page.goto(f"{window.server.url}/#/inside")
    expect(page.get_by_role("alert")).to_contain_text("Come back later.")

    page.unroute_all()
    page.get_by_role("button", name="Try again").click()

    page.locator(".big-map").wait_for()


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_window(new_window, width):
    with new_window(viewport={"width": width, "height": 800}) as window:
        page = window.open("#/inside")
        page.locator(".big-map").wait_for()

        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_shown_is_accessible(new_window, axe, scheme):
    with new_window(color_scheme=scheme) as window:
        page = opened_inside(window)

        page.evaluate(axe)
        violations = page.evaluate("axe.run().then(({violations}) => violations)")
        assert [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in violations] == []
