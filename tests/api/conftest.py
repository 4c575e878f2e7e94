"""A real server on a free port, in a thread, with a tiny model of every feature."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from tests.inprocess import EngineThread

from sirocco.app import create_app, engine_start
from sirocco.catalog import CatalogEntry
from sirocco.cli.serve import _listen
from sirocco.cli.server import server_config
from sirocco.engine.engine import Engine
from sirocco.engine.loading import load_engine
from sirocco.engine.process.client import EngineClient
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.model.weights import save_model
from sirocco.settings import load_settings
from sirocco.store.stores import Stores, open_stores
from sirocco.training.bpe import train_tokenizer

MODEL = "@test/tiny"
MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"
TINY = ModelConfig(
    vocab_size=320, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48,
    window=32, max_seq_len=512,
)  # fmt: skip


@dataclass
class RunningServer:
    """A server, an account of it, and the ways to look inside.

    Attributes:
        threads: of each model that was started, the engine's last one.
    """

    url: str
    app: FastAPI
    stores: Stores
    account_id: str
    secret: str
    threads: dict[str, EngineThread]

    @property
    def headers(self) -> dict[str, str]:
        """Good credentials."""
        return {"Authorization": f"Bearer {self.secret}"}

    def path(self, model_id: str = MODEL, account_id: str | None = None) -> str:
        """Address of a model of an account."""
        return f"{self.url}/client/v4/accounts/{account_id or self.account_id}/ai/run/{model_id}"

    def run(self, body: object, model_id: str = MODEL, **options: object) -> httpx.Response:
        """Ask a model, and wait for the whole answer."""
        headers = {**self.headers, **options.pop("headers", {})}  # type: ignore[dict-item]
        kind = "content" if isinstance(body, bytes) else "json"
        sent = {kind: body, "headers": headers, "timeout": 60, **options}
        return httpx.post(self.path(model_id), **sent)  # type: ignore[arg-type]

    @property
    def engine(self) -> Engine:
        """The tiny model's engine, started; its thread works on it."""
        if MODEL not in self.app.state.service.engines.running:
            assert self.run({"prompt": "start", "max_tokens": 1}).status_code == 200
        engine = self.thread.engine
        assert engine is not None
        return engine

    @property
    def thread(self) -> EngineThread:
        """The thread of the tiny model's engine, which was started."""
        return self.threads[MODEL]

    @property
    def client(self) -> EngineClient:
        """The engine as the event loop sees it; the test may look."""
        assert self.engine is not None
        client = self.app.state.service.engines._keepers[MODEL]._engine
        assert isinstance(client, EngineClient)
        return client


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of a tiny model whose greedy answers never end by themselves."""
    folder = tmp_path_factory.mktemp("tiny")
    model = random_model(TINY, seed=4)
    assert model.head is not None
    model.head.weight.data[2] = 0.0  # of 320 random logits some are larger
    save_model(model, folder)
    train_tokenizer(iter(["the cat sat on the mat", "query heads share"]), 320,
                    folder / "tokenizer.json")  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def serve(checkpoint: Path) -> Callable[..., contextlib.AbstractContextManager[RunningServer]]:
    """Start a server with some settings, for as long as a `with` lasts."""

    @contextlib.contextmanager
    def start(home: Path, **settings: object) -> Iterator[RunningServer]:
        for name in [name for name in os.environ if name.startswith("SIROCCO_")]:
            del os.environ[name]
        resolved = load_settings(home=home, models={MODEL: checkpoint}, **settings)
        stores = open_stores(home, resolved.resolved_database_url)
        account = stores.accounts.create("test")
        secret, _ = stores.api_tokens.create(account.id, name="test")
        threads: dict[str, EngineThread] = {}

        def launch(entry: CatalogEntry) -> EngineThread:
            start = engine_start(entry, resolved)
            thread = EngineThread(lambda: load_engine(entry.folder, config=start.config))
            threads[entry.model_id] = thread
            return thread

        app = create_app(resolved, stores, launch)
        listening = _listen("127.0.0.1", 0)
        config = server_config(app)
        config.timeout_graceful_shutdown = 5
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        httpx.get(f"{url}/health/live", timeout=30)
        try:
            yield RunningServer(url, app, stores, account.id, secret, threads)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()

    return start


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("home"), max_running=4, max_waiting=4) as running:
        yield running


@dataclass
class Gate:
    """Lets the engine do only as many steps with work in them as the test permits."""

    permits: threading.Semaphore

    def open(self, n_steps: int = 1) -> None:
        """Permit some steps more."""
        for _ in range(n_steps):
            self.permits.release()


@pytest.fixture
def gate(server: RunningServer) -> Iterator[Gate]:
    """Hold the engine before each step."""
    engine = server.engine
    permits = threading.Semaphore(0)
    step = engine.step

    def wait_and_step():
        if engine.has_work:
            permits.acquire(timeout=30)
        return step()

    engine.step = wait_and_step  # type: ignore[method-assign]
    yield Gate(permits)
    engine.step = step  # type: ignore[method-assign]
    permits.release(100_000)
