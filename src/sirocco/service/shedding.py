"""Load shedding: who will be refused is told so before the request is read.

An event loop reads some hundreds of requests in a second. A flood beyond that fills queues in
front of everything that is fair: the sockets'. So a refusal has to cost much less than a reading.
"""

from sirocco.engine.process.client import EngineClient
from sirocco.service.access import Access, Caller
from sirocco.service.quota import Quota
from sirocco.service.service import Service
from sirocco.store.scopes import Scope


class Shedder:
    """Refuses early what `Service.run` would refuse in the end, with the same errors.

    It knows nobody who was not served, or refused in the ordinary way, within the last second.
    So a stranger learns nothing here; and of a flood a request each second goes the ordinary way.
    """

    def __init__(self, access: Access, service: Service, quota: Quota) -> None:
        self._access = access
        self._service = service
        self._quota = quota

    def known_caller(self, secret: str, account_id: str) -> Caller | None:
        """Recognise who may run models for this account, and showed it within the last second."""
        return self._access.recent_caller(secret, account_id, Scope.RUN)

    def check(self, caller: Caller, model_id: str) -> None:
        """Raise what `expect` would, and change nothing."""
        self._may_come(caller)
        engine = self._service.running_engine(model_id)
        if engine is not None:
            engine.check_room(caller.account_id)

    def expect(self, caller: Caller, model_id: str, request_id: str) -> EngineClient | None:
        """Let a request be read, for which there will be a place.

        Returns: who expects it now, to be told by `forget`; None if no engine runs that could.
        Raises: RateLimited, OutOfCapacity; Unavailable while the server shuts down.
        """
        self._may_come(caller)
        engine = self._service.running_engine(model_id)
        if engine is not None:
            engine.expect(request_id, caller.account_id)
        return engine

    def _may_come(self, caller: Caller) -> None:
        self._service.check_open()
        self._quota.check(caller)
