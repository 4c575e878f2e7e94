"""Whether requests can be served now, and if not, why."""

import asyncio

import structlog

from sirocco.service.engine_pool import EnginePool
from sirocco.store.db import Database

log = structlog.get_logger(__name__)


class Health:
    """Looks at the parts that a request needs."""

    def __init__(self, database: Database, engines: EnginePool) -> None:
        self._database = database
        self._engines = engines

    @property
    def running(self) -> list[str]:
        """Ids of the models that are started."""
        return self._engines.running

    async def faults(self) -> list[str]:
        """Say what keeps requests from being served; nothing if all is well."""
        faults = [f"the engine of {model_id} has stopped" for model_id in self._engines.stopped]
        try:
            await asyncio.to_thread(self._database.ping)
        except Exception:
            log.exception("the database does not answer")
            faults.append("the database does not answer")
        return faults
