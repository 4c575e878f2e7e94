"""What holds for every page: sizes, themes, keyboard, screen readers; and how it is built."""

import filecmp
import subprocess

import pytest
from playwright.sync_api import expect
from tests.left_out import PLAYGROUND_BUILD, leave_out
from tests.playground.conftest import SOURCES

from sirocco.api.playground import FOLDER

PAGES = ["#/chat", "#/inside", "#/plan"]


def page_links(page) -> list[str]:
    page.locator(".bar nav a").first.wait_for()
    links: list[str] = page.locator(".bar nav a").evaluate_all("all => all.map(a => a.hash)")
    return links


def test_every_page_is_tested(window):
    assert page_links(window.open()) == PAGES


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_a_page_fits_its_window_and_has_no_fault_that_can_be_found(
    new_window, axe, path, width, scheme
):
    size = {"width": width, "height": 740}
    with new_window(viewport=size, color_scheme=scheme, reduced_motion="reduce") as window:
        page = window.open(path)
        page.locator("h1").wait_for()
        page.wait_for_timeout(150)

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert faults(page, axe) == []


def faults(page, axe) -> list[str]:
    """What axe finds: contrast, names, roles, order."""
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]


@pytest.mark.parametrize("opens", ["Model:", "Settings", "Conversations", "Account",
                                   "Show the request as code"])  # fmt: skip
def test_a_window_over_the_page_has_no_fault_and_gives_the_focus_back(new_window, axe, opens):
    with new_window(viewport={"width": 360, "height": 740}, reduced_motion="reduce") as window:
        page = window.open()
        button = page.get_by_role("button", name=opens).first
        button.focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for()
        page.wait_for_timeout(300)

        assert faults(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.keyboard.press("Escape")

        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(button).to_be_focused()


def test_a_conversation_and_the_door_have_no_fault_that_can_be_found(window, axe, server):
    window.page.goto(server.url)
    window.page.get_by_label("API token").wait_for()
    assert faults(window.page, axe) == []
    window.open()
    window.answer_with("# One\n\nTwo `three`\n\n```js\nconst a = 1; // b\n```",
                       **{"sirocco-stand-in": "@sirocco/breeze-instruct"})  # fmt: skip

    window.send("Hello")

    window.wait_for_answers()
    window.page.locator(".hljs-comment").wait_for()
    assert faults(window.page, axe) == []


def test_the_theme_follows_the_system_until_it_is_chosen(new_window):
    background = "getComputedStyle(document.body).backgroundColor"
    with new_window(color_scheme="light") as window:
        page = window.open()
        page.locator("h1").wait_for()
        light = page.evaluate(background)
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(background)
        assert light != dark

        page.get_by_label("Theme: system").click()
        assert page.evaluate(background) == light
        page.reload()

        assert page.evaluate(background) == light
        page.get_by_label("Theme: light").click()
        assert page.evaluate(background) == dark


def test_with_reduced_motion_a_change_is_there_at_once(new_window):
    """Colours that are read to be drawn on a canvas are not those of a moment before."""
    with new_window(reduced_motion="reduce") as window:
        page = window.open()
        page.locator("h1").wait_for()

        colour = page.evaluate("""() => {
            const probe = document.body.appendChild(document.createElement("i"));
            const colours = ["rgb(1, 2, 3)", "rgb(4, 5, 6)"].map((colour) => {
                probe.style.color = colour;
                return getComputedStyle(probe).color;
            });
            probe.remove();
            return colours[1];
        }""")

        assert colour == "rgb(4, 5, 6)"


def test_single_keys_work_where_nobody_writes_and_can_be_switched_off(window):
    page = window.open()
    page.get_by_label("Your message").fill("n?")
    expect(page.get_by_label("Your message")).to_have_value("n?")
    page.get_by_label("Your message").blur()

    page.keyboard.press("?")
    page.get_by_label("Single keys do something").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")

    expect(page.get_by_role("dialog")).to_have_count(0)


def test_slash_leads_to_the_message_and_the_first_tab_to_the_page(window):
    page = window.open()
    page.get_by_label("Your message").blur()

    page.keyboard.press("/")
    expect(page.get_by_label("Your message")).to_be_focused()
    page.reload()
    expect(page.get_by_label("Your message")).to_be_focused()
    page.get_by_label("Your message").blur()
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
    page.get_by_text("Skip to the page").focus()
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()


def test_screen_readers_hear_an_answer_once_in_whole_sentences(window):
    page = window.open()
    window.answer_with("One. ", "Two.")

    window.send("Hello")

    window.wait_for_answers()
    expect(page.locator("[aria-live=polite]")).to_have_text("One. Two.")


def test_what_ships_is_what_the_sources_build(tmp_path):
    if not (SOURCES / "node_modules" / ".made").exists():
        leave_out(PLAYGROUND_BUILD)

    subprocess.run(
        ["node", "build.mjs", f"--outdir={tmp_path}"], cwd=SOURCES, check=True, timeout=60
    )

    compared = filecmp.dircmp(FOLDER, tmp_path)
    assert compared.left_only == compared.right_only == []
    _, different, failed = filecmp.cmpfiles(FOLDER, tmp_path, compared.common_files, shallow=False)
    assert different == failed == [], "run make playground"


def test_the_types_of_the_sources_agree():
    if not (SOURCES / "node_modules" / ".made").exists():
        leave_out(PLAYGROUND_BUILD)

    done = subprocess.run(["npm", "run", "--silent", "check"], cwd=SOURCES, capture_output=True,
                          text=True, timeout=100, check=False)  # fmt: skip

    assert done.returncode == 0, done.stdout
