"""Conversations: asked, streamed, stopped, changed, kept."""

import json
import re

import pytest
from playwright.sync_api import expect
from tests.api.conftest import MISTRAL
from tests.playground.conftest import MODEL_ID
from tests.served import wait_until

ENVELOPE = {"success": False, "result": {}, "messages": []}


def refusal(status, code, message, retry_after=None):
    headers = {"content-type": "application/json"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    body = json.dumps({"errors": [{"message": message, "code": code}], **ENVELOPE})
    return {"status": status, "headers": headers, "body": body}


def is_idle(server) -> bool:
    """No sequence runs or waits, and every block is free."""
    scheduler = server.engine.scheduler
    all_free = scheduler.blocks.n_free == scheduler.blocks.n_blocks
    return not scheduler.running and not scheduler.waiting and all_free


def rows(server):
    return server.stores.usage.of_account(server.account_id)


def measures(answer) -> dict[str, str]:
    """Its name and value, of each measure under an answer."""
    found = answer.locator(".measures > div")
    return {one.locator("dt").inner_text(): one.locator("dd").inner_text() for one in found.all()}


def test_an_answer_is_seen_to_grow(window, server, slow_steps):
    window.open()

    window.send("Go on and on.")

    text = window.page.locator(".answer .prose")
    seen = {""}

    def has_grown_often() -> bool:
        seen.add(text.inner_text())
        return len(seen) > 5

    wait_until(has_grown_often)
    assert not is_idle(server)
    window.wait_for_answers()
    assert len(text.inner_text()) > max(len(one) for one in seen)


def test_under_an_answer_stands_what_the_server_counted(window, server, slow_steps):
    window.open()
    n_before = len(rows(server))

    window.send("Count.")

    shown = measures(window.wait_for_answers())
    wait_until(lambda: len(rows(server)) > n_before)
    row = rows(server)[-1]
    assert int(shown["prompt"]) == row.prompt_tokens
    assert int(shown["output"]) == row.output_tokens
    assert float(shown["neurons"]) == pytest.approx(row.neurons, abs=0.005)
    assert re.fullmatch(r"\d+ ms|[\d.]+ s", shown["first token"])
    assert float(shown["tokens/s"]) > 0


@pytest.mark.parametrize("how", ["button", "key"])
def test_stop_frees_the_sequence_on_the_server(window, server, slow_steps, how):
    window.open()
    n_before = len(rows(server))
    window.send("Go on and on.")
    text = window.page.locator(".answer.writing .prose")
    wait_until(lambda: len(text.inner_text()) > 5)
    assert not is_idle(server)

    if how == "button":
        window.page.get_by_role("button", name="Stop").click()
    else:
        window.page.keyboard.press("Escape")

    wait_until(lambda: is_idle(server))
    wait_until(lambda: len(rows(server)) > n_before)
    assert rows(server)[-1].finish_reason == "abort"
    assert rows(server)[-1].output_tokens < 256
    answer = window.wait_for_answers()
    assert "stopped" in measures(answer)
    assert answer.locator(".prose").inner_text()
    expect(window.page.get_by_role("button", name="Send")).to_be_visible()


def test_a_reload_keeps_conversations_and_their_measures(window):
    page = window.open()
    window.send("Remember this.")
    answer = window.wait_for_answers()
    said, shown = answer.locator(".prose").inner_text(), measures(answer)

    page.reload()

    answer = window.wait_for_answers()
    assert (answer.locator(".prose").inner_text(), measures(answer)) == (said, shown)
    expect(page.locator(".bubble")).to_have_text("Remember this.")


def test_an_answer_that_a_reload_cut_off_is_kept_as_far_as_it_came(window, server, slow_steps):
    page = window.open()
    window.send("Go on and on.")
    text = page.locator(".answer.writing .prose")
    wait_until(lambda: len(text.inner_text()) > 20)

    page.reload()

    answer = window.wait_for_answers()
    assert "stopped" in measures(answer)
    assert len(answer.locator(".prose").inner_text()) > 0
    wait_until(lambda: is_idle(server))


def test_conversations_are_renamed_exported_and_deleted(window):
    page = window.open()
    window.answer_with("One.")
    window.send("First question")
    window.wait_for_answers()
    page.get_by_role("button", name="New conversation").click()
    page.locator(".suggestions").wait_for()
    window.send("Second question")
    window.wait_for_answers()
    listed = page.locator(".conversation a")
    expect(listed).to_have_text(["Second question", "First question"])

    page.get_by_label("Rename First question").click()
    page.get_by_label("Name of the conversation").fill("Kept")
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.get_by_label("Export Kept").click()
    page.get_by_label("Delete Second question").click()
    page.get_by_role("button", name="Delete", exact=True).click()

    expect(listed).to_have_text(["Kept"])
    exported = json.loads(download.value.path().read_text())
    assert download.value.suggested_filename == "kept.json"
    assert [turn["text"] for turn in exported["turns"]] == ["First question", "One."]
    page.reload()
    expect(listed).to_have_text(["Kept"])
    listed.click()
    expect(page.locator(".bubble")).to_have_text("First question")


def test_the_next_question_brings_the_conversation_along(window):
    window.open()
    window.answer_with("Fine.")
    window.send("How are you?")
    window.wait_for_answers()

    window.send("Why?")
    window.wait_for_answers(2)

    assert window.bodies()[-1] == {
        "messages": [
            {"role": "user", "content": "How are you?"},
            {"role": "assistant", "content": "Fine."},
            {"role": "user", "content": "Why?"},
        ],
        "stream": True,
    }


def test_a_changed_question_is_asked_anew_without_what_followed(window):
    page = window.open()
    window.answer_with("Fine.")
    window.send("Firs")
    window.wait_for_answers()
    window.send("More")
    window.wait_for_answers(2)

    page.locator(".question").first.hover()
    page.get_by_label("Edit the message").first.click()
    page.get_by_label("Your message").first.fill("First")
    page.locator(".editor").get_by_role("button", name="Send").click()

    window.wait_for_answers()
    expect(page.locator(".bubble")).to_have_text(["First"])
    assert window.bodies()[-1]["messages"] == [{"role": "user", "content": "First"}]


def test_a_changed_answer_is_what_the_model_said_from_then_on(window):
    page = window.open()
    window.answer_with("Fine.")
    window.send("How are you?")
    window.wait_for_answers()

    page.get_by_label("Edit the answer").click()
    page.get_by_label("The answer", exact=True).fill("Tired.")
    page.get_by_role("button", name="Save").click()
    window.send("Why?")
    window.wait_for_answers(2)

    assert window.bodies()[-1]["messages"][1] == {"role": "assistant", "content": "Tired."}


def test_asking_again_replaces_the_answer(window):
    page = window.open()
    window.answer_with("One.")
    window.send("A number")
    window.wait_for_answers()

    window.answer_with("Two.")
    page.get_by_label("Ask again").click()

    expect(page.locator(".answer .prose")).to_have_text(["Two."])
    assert window.bodies()[0] == window.bodies()[1]


SAMPLING = {
    "Max tokens": ("max_tokens", 7), "Temperature": ("temperature", 1.25), "Top p": ("top_p", 0.9),
    "Top k": ("top_k", 5), "Repetition penalty": ("repetition_penalty", 1.1),
    "Frequency penalty": ("frequency_penalty", -0.5),
    "Presence penalty": ("presence_penalty", 0.25),
    "Seed": ("seed", 9_999_999_999),
}  # fmt: skip


def test_every_setting_arrives_under_the_name_that_the_api_has_for_it(window):
    page = window.open()
    page.get_by_label("System prompt").fill("Be kind.")
    for label, (_, value) in SAMPLING.items():
        number = page.get_by_role("spinbutton", name=label)
        number.fill(str(value))
        number.blur()
    page.get_by_label("Stop at").fill("\\nUser:")
    page.keyboard.press("Enter")

    with page.expect_response("**/ai/run/**") as answered:
        window.send("Hello")

    assert window.bodies() == [
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello"},
            ],
            "stream": True,
            **dict(SAMPLING.values()),
            "stop": ["\nUser:"],
        }
    ]
    assert answered.value.status == 200
    assert "sirocco-unused" not in answered.value.headers
    assert int(measures(window.wait_for_answers())["output"]) <= 7


def test_what_is_not_set_is_not_sent(window):
    page = window.open()
    window.answer_with("Fine.")
    number = page.get_by_role("spinbutton", name="Temperature")
    number.fill("2")
    number.blur()
    page.get_by_label("Temperature: back to the default").click()

    window.send("Hello")

    window.wait_for_answers()
    assert window.bodies() == [{"messages": [{"role": "user", "content": "Hello"}], "stream": True}]


def test_a_stand_in_is_named_above_its_answer(window):
    page = window.open()
    page.get_by_label("Model:").click()
    page.get_by_label("Search models").fill(MISTRAL)
    page.keyboard.press("Enter")

    window.send("What is a KV cache?")

    answer = window.wait_for_answers()
    expect(answer.locator(".stand-in")).to_contain_text("@sirocco/breeze-instruct stands in")
    expect(answer.locator(".stand-in")).to_contain_text(MISTRAL)
    assert any(MISTRAL in one.url for one in window.asked)


def test_models_that_are_here_come_first_and_one_is_chosen(window):
    page = window.open()
    page.get_by_label("Model:").click()

    listed = page.get_by_role("group", name="On this machine").get_by_role("option")
    expect(listed.first).to_be_visible()
    assert MODEL_ID in " ".join(listed.all_inner_texts())
    expect(page.get_by_role("option", selected=True)).to_have_count(1)


def test_what_is_sent_before_the_models_are_listed_waits_for_them(window):
    held = []
    window.page.route("**/ai/models/search?**", lambda route: held.append(route))  # noqa: PLW0108
    page = window.open()
    window.send("Who answers?")
    expect(page.get_by_label("Your message")).to_have_value("")
    assert not window.bodies()

    wait_until(lambda: page.evaluate("1") and held)  # Playwright listens while it is asked
    for route in held:
        route.continue_()

    window.wait_for_answers()
    (asked,) = [one.url for one in window.asked if "/ai/run/" in one.url]
    assert asked.endswith(MODEL_ID)


def test_a_quota_that_is_used_up_is_told_with_the_time_of_its_renewal(window):
    page = window.open()
    told = refusal(429, 4006, "daily free allocation of 10 neurons is used up", 7200)
    page.route("**/ai/run/**", lambda route: route.fulfill(**told))

    window.send("Hello")

    card = page.get_by_role("alert")
    expect(card).to_contain_text("Today's allocation is used up.")
    expect(card).to_contain_text("10 neurons")
    expect(card.get_by_role("button")).to_contain_text("2 h")


def test_out_of_capacity_is_tried_again_by_itself(window):
    page = window.open()
    told = refusal(429, 3040, "Capacity temporarily exceeded, please try again.", 3)
    page.route("**/ai/run/**", lambda route: route.fulfill(**told), times=1)

    window.send("Hello")

    expect(page.get_by_text("Asking again in")).to_be_visible()
    assert int(measures(window.wait_for_answers())["output"]) > 0
    assert len(window.bodies()) == 2
    expect(page.locator(".fault-card")).to_have_count(0)


def test_waiting_for_capacity_can_be_stopped(window):
    page = window.open()
    told = refusal(429, 3040, "Capacity temporarily exceeded, please try again.", 60)
    page.route("**/ai/run/**", lambda route: route.fulfill(**told))
    window.send("Hello")
    page.get_by_text("Asking again in").wait_for()

    page.get_by_role("button", name="Stop").click()

    window.wait_for_answers()
    assert len(window.bodies()) == 1


def test_an_engine_that_fails_midway_leaves_what_had_come(window):
    page = window.open()
    fault = {"errors": [{"message": "AiError: the engine failed", "code": 5012}], **ENVELOPE}
    window.answer_with("Half an ", "answer", last=fault)

    window.send("Hello")

    expect(page.locator(".answer .prose")).to_have_text("Half an answer")
    expect(page.get_by_role("alert")).to_contain_text("The engine failed while it answered.")
    window.answer_with("Whole.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .prose")).to_have_text("Whole.")


def test_a_stream_without_its_end_is_not_taken_for_an_answer(window):
    page = window.open()
    window.answer_with("Half", last={"response": " of it", "p": ""})

    window.send("Hello")

    expect(page.get_by_role("alert")).to_contain_text("The answer is not whole.")


def test_credentials_that_have_ended_lead_back_to_the_door(window, server):
    secret, token = server.stores.api_tokens.create(server.account_id, name="short")
    window.page.goto(f"{server.url}/#account_id={server.account_id}&api_token={secret}")
    window.page.locator(".suggestions").wait_for()
    server.stores.api_tokens.revoke(token.id, server.account_id)

    window.send("Hello")

    window.page.get_by_role("button", name="Sign in").wait_for()


HOSTILE = """
<script>window.hostile = 1</script><img src=x onerror="window.hostile = 2">
<a href="javascript:window.hostile=3">press</a> [press](javascript:window.hostile=4)
![look](http://192.0.2.1/look.png) [away](http://192.0.2.1/) http://192.0.2.1/auto
[ref]: http://192.0.2.1/ref
<iframe src="http://192.0.2.1/"></iframe><svg onload="window.hostile=5"></svg>
<style>body { display: none }</style><form action="http://192.0.2.1/"><button>send</button></form>

| a | b |
|---|---|
| <img src=x onerror=window.hostile=6> | `<b>` |

```"><img src=x onerror=window.hostile=7>
</code></pre><script>window.hostile = 8</script>
```
"""


def test_what_a_hostile_model_writes_stays_text(window):
    """Whom the page asked and what the browser forbade is looked at after every test."""
    page = window.open()
    window.answer_with(*[HOSTILE[at : at + 9] for at in range(0, len(HOSTILE), 9)])

    window.send("Hello")

    text = window.wait_for_answers().locator(".prose").inner_text()
    page.wait_for_timeout(200)  # colours of code come a little later
    assert page.evaluate("window.hostile") is None
    made = page.locator(".prose").locator("a, img, script, iframe, style, form, input")
    assert made.count() == 0
    for piece in ("<script>window.hostile = 1</script>", "[press](javascript:window.hostile=4)",
                  "![look](http://192.0.2.1/look.png)", "[ref]: http://192.0.2.1/ref",
                  "<iframe", "<style>", "window.hostile=6", "window.hostile = 8"):  # fmt: skip
        assert piece in text


def test_a_hostile_question_and_title_stay_text(window):
    page = window.open()
    window.answer_with("Fine.")

    window.send("<img src=x onerror=window.hostile=1>")

    window.wait_for_answers()
    expect(page.locator(".bubble")).to_have_text("<img src=x onerror=window.hostile=1>")
    expect(page.locator(".conversation a")).to_have_text("<img src=x onerror=window.hostile=1>")
    assert page.evaluate("window.hostile") is None


def test_the_form_of_an_answer_is_shown(window):
    page = window.open()
    window.answer_with(
        "# Head\n\n1. **one**\n2. two\n\n```python\nx = 1  # why\n```\n\n|a|\n|-|\n|b|"
    )

    window.send("Hello")

    prose = window.wait_for_answers().locator(".prose")
    assert prose.locator("h1").inner_text() == "Head"
    widths = prose.locator(":scope > *").evaluate_all("all => all.map(one => one.offsetWidth)")
    assert min(widths) > 400, "styles of another page must not reach it"
    assert prose.locator("ol li strong").inner_text() == "one"
    assert prose.locator("td").inner_text() == "b"
    expect(prose.locator(".hljs-comment")).to_have_text("# why")
    page.get_by_label("Copy the code").wait_for()
