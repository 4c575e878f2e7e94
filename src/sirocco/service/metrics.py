"""What a server counts of itself, for Prometheus. Names and labels: docs/operations.md.

Labels are model ids of the catalogue, routes, statuses and names of error classes: there are only
so many, and none of them is anybody's secret. What an answer took is written once, when it is
over; what engines are doing is looked up when somebody asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sirocco.errors import SiroccoError
from sirocco.service.answer import AnswerOrigin, Ended
from sirocco.service.engine_pool import EnginePool

_FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NEXT_TOKEN_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_LATE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class _OfModel:
    """One model's series, found once."""

    first_token_s: Histogram
    next_token_s: Histogram
    answer_s: Histogram
    prompt_tokens: Counter
    cached_tokens: Counter
    output_tokens: Counter


class Metrics:
    """A registry of its own, so that a process may hold several servers; use it in one loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sirocco_requests", "Requests that were answered",
            ["endpoint", "model", "status"], registry=self._registry,
        )  # fmt: skip
        self._errors = Counter(
            "sirocco_errors", "Requests that ended with an error", ["error"],
            registry=self._registry,
        )  # fmt: skip
        self._cut = Counter(
            "sirocco_connections_cut", "Connections that were closed without a word", ["reason"],
            registry=self._registry,
        )  # fmt: skip
        self._answers = Counter(
            "sirocco_answers", "Answers of models that are over", ["model", "finish_reason"],
            registry=self._registry,
        )  # fmt: skip
        self._first_token_s = self._seconds("time_to_first_token", _FIRST_TOKEN_S)
        self._next_token_s = self._seconds("time_per_output_token", _NEXT_TOKEN_S)
        self._answer_s = self._seconds("answer_duration", _ANSWER_S)
        self._prompt_tokens = self._tokens("prompt_tokens")
        self._cached_tokens = self._tokens("cached_prompt_tokens")
        self._output_tokens = self._tokens("output_tokens")
        self._late_s = Histogram(
            "sirocco_event_loop_delay_seconds", "How late the event loop was, 20 times a second",
            buckets=_LATE_S, registry=self._registry,
        )  # fmt: skip
        self._models: dict[str, _OfModel] = {}

    def watch_engines(self, engines: EnginePool) -> None:
        """Tell of these engines, too, from now on."""
        self._registry.register(_Engines(engines))

    def requested(self, endpoint: str, model_id: str, status: int) -> None:
        """Count a request whose answer has begun."""
        self._requests.labels(endpoint, model_id, str(status)).inc()

    def failed(self, error: SiroccoError) -> None:
        """Count an error that a client was told."""
        self._errors.labels(type(error).__name__).inc()

    def cut(self, reason: str) -> None:
        """Count a connection that was closed without an answer that would say why."""
        self._cut.labels(reason).inc()

    def late(self, late_s: float) -> None:
        """Count a callback of the event loop that was due."""
        self._late_s.observe(late_s)

    def answered(self, over: Ended, origin: AnswerOrigin) -> None:
        """Count an answer that is over."""
        of_model = self._of_model(origin.model_id)
        of_model.prompt_tokens.inc(over.n_prompt_tokens)
        of_model.cached_tokens.inc(over.n_cached_tokens)
        of_model.output_tokens.inc(over.n_output_tokens)
        of_model.answer_s.observe(over.elapsed_s)
        if over.ttft_s is not None:
            of_model.first_token_s.observe(over.ttft_s)
            if over.n_output_tokens > 1:
                rest_s = over.elapsed_s - over.ttft_s
                of_model.next_token_s.observe(rest_s / (over.n_output_tokens - 1))
        self._answers.labels(origin.model_id, str(over.finish_reason)).inc()

    def written(self) -> bytes:
        """Write all of it in Prometheus's text format, 0.0.4."""
        return generate_latest(self._registry)

    def _of_model(self, model_id: str) -> _OfModel:
        found = self._models.get(model_id)
        if found is None:
            found = self._models[model_id] = _OfModel(
                self._first_token_s.labels(model_id), self._next_token_s.labels(model_id),
                self._answer_s.labels(model_id), self._prompt_tokens.labels(model_id),
                self._cached_tokens.labels(model_id), self._output_tokens.labels(model_id),
            )  # fmt: skip
        return found

    def _seconds(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        text = name.replace("_", " ").capitalize()
        return Histogram(
            f"sirocco_{name}_seconds", text, ["model"], buckets=buckets, registry=self._registry
        )

    def _tokens(self, name: str) -> Counter:
        text = name.replace("_", " ").capitalize()
        return Counter(f"sirocco_{name}", text, ["model"], registry=self._registry)


class _Engines(Collector):
    """What engines said last, in the messages that they send anyway."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    def describe(self) -> list[Metric]:
        """Say nothing ahead: no engine runs yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Look at each engine that was started."""
        up = _gauge("engine_up", "Whether the engine of a model that was started answers")
        running = _gauge("running_sequences", "Answers that an engine computes")
        waiting = _gauge("waiting_sequences", "Answers that wait in an engine")
        used = _gauge("kv_blocks_used", "Blocks of the KV cache that answers hold")
        total = _gauge("kv_blocks", "Blocks of the KV cache")
        restarts = CounterMetricFamily(
            "sirocco_engine_restarts", "Engines that took a dead one's place", labels=["model"]
        )
        for model_id, keeper in self._engines.started():
            engine = keeper.running_engine
            up.add_metric([model_id], float(engine is not None))
            restarts.add_metric([model_id], keeper.n_restarts)
            if engine is not None:
                load = engine.load
                running.add_metric([model_id], load.n_running)
                waiting.add_metric([model_id], load.n_waiting)
                used.add_metric([model_id], load.n_blocks - load.n_free_blocks)
                total.add_metric([model_id], load.n_blocks)
        yield from (up, running, waiting, used, total, restarts)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sirocco_{name}", text, labels=["model"])
