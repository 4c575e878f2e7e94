"""The platform put together, once: settings in, an ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from sirocco import __version__
from sirocco.api import health, run
from sirocco.api.errors import add_error_handlers
from sirocco.catalog import Catalog, CatalogEntry
from sirocco.engine.engine import Engine
from sirocco.service.access import Access
from sirocco.service.engine_pool import EnginePool
from sirocco.service.health import Health
from sirocco.service.service import Service
from sirocco.service.usage_writer import UsageWriter
from sirocco.settings import Settings
from sirocco.store.stores import Stores, open_stores

API_PREFIX = "/client/v4"

_DESCRIPTION = """Your own Workers AI. Authorise with the API token that `sirocco serve` printed \
at its first start, or that `sirocco tokens create` prints."""


def create_app(settings: Settings, stores: Stores | None = None) -> FastAPI:
    """Build the application; engines start with their first request and stop with it.

    Args:
        stores: already open ones; the application closes them in the end either way.

    Raises: ConfigError, CheckpointError.
    """
    stores = stores or open_stores(settings.home, settings.resolved_database_url)
    catalog = Catalog(settings.models_folder, settings.models)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = EnginePool(lambda entry: _load_engine(entry, settings))
        usage = UsageWriter(stores.usage)
        app.state.service = Service(catalog, engines, usage, stand_in=settings.stand_in)
        app.state.health = Health(stores.database, engines)
        try:
            yield
        finally:
            await engines.aclose()
            usage.close()
            stores.database.close()

    # The pages under /docs come with their scripts: a machine without a network shows them, too.
    app = FastAPIOffline(
        redoc_url=None, title="Sirocco", version=__version__, lifespan=lifespan,
        redirect_slashes=False, description=_DESCRIPTION,
    )  # fmt: skip
    app.state.settings = settings
    app.state.access = Access(stores.api_tokens)
    app.include_router(run.router, prefix=API_PREFIX, tags=["Workers AI"])
    app.include_router(health.router, tags=["Health"])
    app.add_api_route("/", _to_docs, include_in_schema=False)
    add_error_handlers(app)
    return app


async def _to_docs() -> RedirectResponse:
    return RedirectResponse("/docs")


def _load_engine(entry: CatalogEntry, settings: Settings) -> Engine:
    from sirocco import native  # noqa: PLC0415 - torch is slow to import
    from sirocco.engine.loading import load_engine  # noqa: PLC0415

    if settings.threads is not None and native.is_built():
        native.set_n_threads(settings.threads)
    return load_engine(
        entry.folder, device=settings.device, weights=settings.weights, config=settings.engine
    )
