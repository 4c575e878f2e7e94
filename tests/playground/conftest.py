"""A real Chromium before a real server: a tiny model whose answers are long, and a stand-in."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)
from tests.api.conftest import MODEL, RunningServer, checkpoint, serve
from tests.left_out import CHROMIUM, leave_out

__all__ = ["checkpoint", "serve"]

SOURCES = Path(__file__).parents[2] / "playground"
expect.set_options(timeout=15_000)  # the machine may have much else to do
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's own Chromium; Playwright's is not downloaded.

    It does not stay: while Playwright is there an event loop runs in this thread, and other
    folders' tests start their own.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        leave_out(CHROMIUM)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(serve, tmp_path_factory) -> Iterator[RunningServer]:
    """Start the server, and the engine of the tiny model."""
    with serve(tmp_path_factory.mktemp("home"), stand_in=True, prefix_cache=False) as running:
        assert running.engine is not None
        yield running


@pytest.fixture
def slow_steps(server) -> Iterator[None]:
    """Let an answer be under way for a while: 20 ms more a step, and only `max_tokens` ends it."""
    engine = server.engine
    step, add = engine.step, engine.add

    def wait_and_step() -> Any:
        if engine.has_work:
            time.sleep(0.02)
        return step()

    def add_endless(request: Any, *others: Any) -> Any:
        endless = replace(request.sampling, ignore_eos=True)
        return add(replace(request, sampling=endless), *others)

    engine.step, engine.add = wait_and_step, add_endless
    yield
    engine.step, engine.add = step, add


@dataclass
class Window:
    """A page of a browser with nothing in its storage, and what it has asked for."""

    context: BrowserContext
    page: Page
    server: RunningServer
    asked: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def noted(self, request: Request) -> None:
        """Remember what was asked for."""
        self.asked.append(request)

    @property
    def link(self) -> str:
        """What `sirocco serve` prints."""
        running = self.server
        return f"{running.url}/#account_id={running.account_id}&api_token={running.secret}"

    def open(self, path: str = "") -> Page:
        """Open the printed link, and then a page of the playground."""
        self.page.goto(self.link)
        # The last that the page does by itself; later it would take a test the focus away.
        expect(self.page.get_by_label("Your message")).to_be_focused()
        if path:
            self.page.goto(f"{self.server.url}/{path}")
        return self.page

    def send(self, text: str) -> None:
        """Write a message, and press Enter."""
        self.page.get_by_label("Your message").fill(text)
        self.page.keyboard.press("Enter")

    def wait_for_answers(self, n: int = 1) -> Locator:
        """Wait until so many answers are whole; give the last one."""
        self.page.locator(".answer .measures").nth(n - 1).wait_for()
        return self.page.locator(".answer").nth(n - 1)

    def bodies(self) -> list[Any]:
        """What was sent to the model, in order."""
        return [json.loads(one.post_data or "") for one in self.asked if "/ai/run/" in one.url]

    def answer_with(self, *pieces: str, last: object = None, **headers: str) -> None:
        """Stand between page and model: these pieces are the answer from now on."""
        counts = {"prompt_tokens": 3, "completion_tokens": len(pieces), "neurons": 0.5}
        events = [{"response": piece, "p": ""} for piece in pieces]
        events.append(last or {"response": "", "usage": counts})  # type: ignore[arg-type]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        end = "" if last else "data: [DONE]\n\n"
        self.page.unroute_all()
        self.page.route(
            "**/ai/run/**",
            lambda route: route.fulfill(
                status=200,
                headers={"content-type": "text/event-stream", **headers},
                body="".join(lines) + end,
            ),
        )


@contextlib.contextmanager
def opened_window(browser: Browser, server: RunningServer, **settings: Any) -> Iterator[Window]:
    """Open a window, and hold against it whom it asked and what the browser forbade it."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
    context.set_default_timeout(30_000)
    page = context.new_page()
    window = Window(context, page, server)
    context.on("request", window.noted)
    context.on("console", lambda said: _hear(window, said))
    context.on("weberror", lambda fault: window.complaints.append(str(fault.error)))
    yield window
    context.close()
    foreign = {one.url for one in window.asked if not one.url.startswith((server.url, "blob:"))}
    assert not foreign, "the page may ask nobody but its server"
    assert not window.complaints


def _hear(window: Window, said: ConsoleMessage) -> None:
    is_status = said.text.startswith("Failed to load resource")  # of a refusal, which is tested
    if said.type in ("error", "warning") and not is_status:
        window.complaints.append(said.text)


@pytest.fixture
def window(browser, server) -> Iterator[Window]:
    """A window of a desktop's size."""
    with opened_window(browser, server) as one:
        yield one


@pytest.fixture
def new_window(browser, server) -> Callable[..., Any]:
    """Windows of any size and kind, each for as long as a `with` lasts."""
    return lambda **settings: opened_window(browser, server, **settings)


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's script."""
    script = SOURCES / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        leave_out(CHROMIUM)
    return script.read_text(encoding="utf-8")


MODEL_ID = MODEL
