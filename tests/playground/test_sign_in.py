"""Into the playground: by the printed link, or by hand; and what the browser keeps of it."""

import pytest
from playwright.sync_api import expect

from sirocco.cli.greeting import Owner, greeting
from sirocco.settings import load_settings


def is_signed_in(page) -> bool:
    page.locator("h1").wait_for()
    return bool(page.get_by_label("Your message").count())


def test_the_link_in_the_terminal_signs_in(window, server, tmp_path):
    owner = Owner(server.account_id, server.secret)
    printed = greeting(server.url, owner, load_settings(home=tmp_path))
    (link,) = [word for word in printed.split() if "#" in word]

    window.page.goto(link)

    assert is_signed_in(window.page)


def test_without_a_new_api_token_the_terminal_prints_the_bare_address(server, tmp_path):
    printed = greeting(server.url, Owner(server.account_id, None), load_settings(home=tmp_path))

    assert f"{server.url}/\n" in printed
    assert "api_token" not in printed


def test_the_api_token_leaves_the_address_at_once(window, server):
    page = window.open()
    assert is_signed_in(page)

    assert server.secret not in page.evaluate("location.href")
    page.goto(f"{server.url}/health/live")
    page.go_back()
    assert server.secret not in page.evaluate("location.href")
    assert all(server.secret not in one.url.split("#")[0] for one in window.asked)


def test_the_credentials_end_with_the_tab_unless_they_are_to_stay(window, server):
    page = window.open()
    assert is_signed_in(page)
    other = window.context.new_page()
    other.goto(server.url)
    assert not is_signed_in(other)

    page.get_by_label("Account").click()
    page.get_by_label("Stay signed in on this browser").check()
    other.reload()

    assert is_signed_in(other)


def test_an_api_token_that_is_not_good_is_refused_in_words(window, server):
    window.page.goto(server.url)
    window.page.get_by_label("API token").fill("a" * 40)
    window.page.get_by_label("Account id").fill(server.account_id)

    window.page.get_by_role("button", name="Sign in").click()

    expect(window.page.get_by_role("alert")).to_contain_text("not good for this account")
    assert window.page.evaluate("localStorage.length + sessionStorage.length") == 0


@pytest.mark.parametrize("gives_account", [True, False])
def test_somebody_signs_in_by_hand_and_out_again(window, server, gives_account):
    page = window.page
    page.goto(server.url)
    page.get_by_label("API token").fill(f" {server.secret} ")
    page.get_by_label("Account id").fill(server.account_id if gives_account else "")

    page.get_by_role("button", name="Sign in").click()

    page.get_by_label("Your message").wait_for()
    page.get_by_label("Account").click()
    expect(page.get_by_role("dialog")).to_contain_text(server.account_id)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
