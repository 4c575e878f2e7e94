"""`make screenshots`: every page in Chromium, narrow and wide, light and dark, into docs/images.

Starts a server of its own with the embedded model and a home that is thrown away. What is asked
is answered by the model, so the pictures show what people see.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIROCCO = Path(sys.executable).parent / "sirocco"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
WINDOWS = [("360", 360, 740, "dark"), ("1440", 1440, 900, "light")]


def chat(page: Page) -> None:
    """Hold a conversation of two questions."""
    for index, text in enumerate(("What is grouped-query attention?", "What is a KV cache?")):
        page.get_by_label("Your message").fill(text)
        page.keyboard.press("Enter")
        page.locator(".measures").nth(index).wait_for(timeout=120_000)


def inside(page: Page) -> None:
    """Look at the page's own example, when its maps are drawn."""
    page.locator(".large-map").wait_for(timeout=120_000)


def plan(page: Page) -> None:
    """Take the plan that the page begins with, when its curves are drawn."""
    page.locator(".chart").last.wait_for(timeout=120_000)


PAGES: dict[str, Callable[[Page], None]] = {"chat": chat, "inside": inside, "plan": plan}
"""What each page is made to show, by its name in the address."""


def shoot(browser: Browser, link: str) -> None:
    """Take every page in every window."""
    for name, show in PAGES.items():
        for label, width, height, scheme in WINDOWS:
            size = {"width": width, "height": height}
            page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page.goto(link)
            page.goto(link.split("#", maxsplit=1)[0] + f"#/{name}")
            show(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(400)
            whole = name != "chat"  # which fills its window; the others are scrolled
            page.screenshot(path=IMAGES / f"playground-{name}-{label}.png", full_page=whole)
            page.close()


def main() -> None:
    """Start a server, take the pictures, end the server."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("screenshots need Chromium (Debian and Ubuntu: chromium)")
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [SIROCCO, "serve", "--port", "0", "--stand-in"],
            env={"SIROCCO_HOME": home, "PATH": ""}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            printed = (re.search(r"http://\S+#\S+", line) for line in server.stdout)
            link = next(found for found in printed if found)[0]
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
                shoot(browser, link)
                browser.close()
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
