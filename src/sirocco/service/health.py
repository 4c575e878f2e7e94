"""Whether requests can be served now, and if not, why."""

import asyncio

import structlog

from sirocco.service.service import Service
from sirocco.store.db import Database

log = structlog.get_logger(__name__)


class Health:
    """Looks at the parts that a request needs."""

    def __init__(self, database: Database, service: Service) -> None:
        self._database = database
        self._service = service

    @property
    def running(self) -> list[str]:
        """Ids of the models that are started."""
        return self._service.engines.running

    async def faults(self) -> list[str]:
        """Say what keeps requests from being served; nothing if all is well."""
        stopped = self._service.engines.stopped
        faults = [f"the engine of {model_id} has stopped" for model_id in stopped]
        if self._service.is_draining:
            faults.append("the server is shutting down")
        if not self._service.keeps_usage:
            faults.append("usage cannot be written down")
        try:
            await asyncio.to_thread(self._database.ping)
        except Exception:
            log.exception("the database does not answer")
            faults.append("the database does not answer")
        return faults
