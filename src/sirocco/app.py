"""The platform put together, once: settings in, an ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from sirocco import __version__
from sirocco.api import (
    binding,
    finetunes,
    health,
    identity,
    inspect,
    metrics,
    models,
    plan,
    playground,
    run,
    usage_report,
)
from sirocco.api.batch import BatchAnswers
from sirocco.api.document import openapi_document
from sirocco.api.errors import add_error_handlers
from sirocco.api.metrics import RequestCounting
from sirocco.api.openai import chat, completions, responses
from sirocco.api.openai import models as openai_models
from sirocco.api.shedding import LoadShedding
from sirocco.catalog import Catalog, CatalogEntry
from sirocco.engine.process.launch import EngineProcess
from sirocco.engine.process.messages import Start
from sirocco.service.access import Access
from sirocco.service.batch_desk import BatchDesk
from sirocco.service.batch_runner import BatchRunner
from sirocco.service.directory import Directory
from sirocco.service.engine_keeper import Patience
from sirocco.service.engine_pool import EnginePool, Launch
from sirocco.service.health import Health
from sirocco.service.inspector import Inspector
from sirocco.service.loop_watch import LoopWatch
from sirocco.service.metrics import Metrics
from sirocco.service.quota import Quota
from sirocco.service.service import Service
from sirocco.service.shedding import Shedder
from sirocco.service.usage_writer import UsageWriter
from sirocco.settings import Settings
from sirocco.store.batches import Batches
from sirocco.store.budgets import Budgets
from sirocco.store.spool import Spool
from sirocco.store.stores import Stores, open_stores
from sirocco.wire.sse import Padding

API_PREFIX = "/client/v4"

_DESCRIPTION = """Your own Workers AI. Authorise with the API token that `sirocco serve` printed \
at its first start, or that `sirocco tokens create` prints."""


def create_app(
    settings: Settings, stores: Stores | None = None, launch: Launch | None = None
) -> FastAPI:
    """Build the application; engines start with their first request and stop with it.

    Args:
        stores: already open ones; the application closes them in the end either way.
        launch: starts the engine of a model; by default in a process of its own.

    Raises: ConfigError, CheckpointError.
    """
    stores = stores or open_stores(settings.home, settings.resolved_database_url)
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        patience = Patience(settings.queue_timeout_s, settings.step_timeout_s)
        engines = EnginePool(
            launch or (lambda entry: EngineProcess(engine_start(entry, settings))), patience
        )
        usage = UsageWriter(stores.usage, Spool(settings.home / "usage-spool"))
        quota = Quota(Budgets(stores.database), settings.limits)
        service = Service(
            catalog, engines, usage, quota, stand_in=settings.stand_in,
            queue_timeout_s=settings.queue_timeout_s, time_limit_s=settings.time_limit_s,
            metrics=app.state.metrics, grammar_time_s=settings.grammar_time_s,
        )  # fmt: skip
        app.state.service = service
        app.state.inspector = Inspector(
            service, usage, quota, max_tokens=settings.inspect_max_tokens,
            queue_timeout_s=settings.queue_timeout_s, time_limit_s=settings.time_limit_s,
        )  # fmt: skip
        app.state.shedder = Shedder(app.state.access, service, quota)
        app.state.health = Health(stores.database, service)
        batches = Batches(stores.database, settings.batch_limits)
        runner = BatchRunner(
            service, batches, stores.accounts, BatchAnswers(service), n_places=settings.batch_places
        )
        app.state.batch_runner = runner
        app.state.batch_desk = BatchDesk(service, batches, on_queued=runner.wake)
        runner.start()
        loop_watch = LoopWatch(app.state.metrics.late)
        try:
            yield
        finally:
            loop_watch.close()
            await runner.aclose()
            await engines.aclose()
            await service.aclose()
            usage.close()
            quota.close()
            stores.database.close()

    # The pages under /docs come with their scripts: a machine without a network shows them, too.
    app = FastAPIOffline(
        redoc_url=None, title="Sirocco", version=__version__, lifespan=lifespan,
        redirect_slashes=False, description=_DESCRIPTION,
    )  # fmt: skip
    app.state.settings = settings
    app.state.padding = Padding()
    app.state.metrics = Metrics()
    app.state.access = Access(stores.api_tokens)
    app.state.directory = Directory(stores)
    _add_routes(app)
    app.openapi = openapi_document(app)  # type: ignore[method-assign]
    add_error_handlers(app)
    app.add_middleware(LoadShedding)
    app.add_middleware(RequestCounting)  # outside of it: what is refused is counted, too
    return app


def _add_routes(app: FastAPI) -> None:
    app.include_router(binding.account_router, prefix=API_PREFIX)  # a model could be named so
    app.include_router(binding.router)
    app.include_router(run.router, prefix=API_PREFIX, tags=["Workers AI"])
    app.include_router(inspect.router, prefix=API_PREFIX, tags=["Looking inside"])
    app.include_router(models.router, prefix=API_PREFIX, tags=["Catalogue"])
    app.include_router(finetunes.router, prefix=API_PREFIX, tags=["Catalogue"])
    for route in (chat, completions, responses, openai_models):
        app.include_router(route.router, prefix=API_PREFIX, tags=["OpenAI"])
    app.include_router(plan.router, prefix=API_PREFIX, tags=["Planning"])
    app.include_router(identity.router, prefix=API_PREFIX, tags=["Accounts"])
    app.include_router(usage_report.router, prefix=API_PREFIX, tags=["Accounts"])
    app.include_router(health.router, tags=["Health"])
    app.include_router(metrics.router, tags=["Health"])
    app.include_router(playground.router)


def engine_start(entry: CatalogEntry, settings: Settings) -> Start:
    """Say what an engine is to load, and how much it may do at once.

    Its client bounds all answers that are live, so the bound of the engine's own queue is above.
    """
    config = settings.engine
    return Start(
        folder=str(entry.folder),
        config=replace(config, max_waiting=config.max_running + config.max_waiting),
        device=settings.device,
        weights=settings.weights,
        threads=settings.threads,
        gpus=settings.gpus,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
