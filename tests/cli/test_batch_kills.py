"""A batch survives kill -9 of its server: what was done is not done again, and counted once."""

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import httpx
import pytest
from tests.served import Served, wait_until

from sirocco.service.batch_runner import item_request_id

N_ITEMS = 12
ITEM = {"prompt": "Tell me a long story.", "max_tokens": 90, "temperature": 1.5}


@pytest.fixture
def start(tmp_path):
    """Start a server on the same home as the one before; all are dead in the end."""
    servers: list[Served] = []

    def served():
        before = servers[0] if servers else None
        servers.append(Served(tmp_path / "served", before=before, batch_running=3))
        return servers[-1]

    yield served
    for server in servers:
        server.process.kill()
        server.stop()


def select(home, query, *values):
    """Look into the database of a server that is dead, or alive."""
    with closing(sqlite3.connect(home / "sirocco.db", timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def done_results(home, batch_id):
    query = "SELECT position, result FROM batch_items WHERE batch_id = ? AND is_done"
    return dict(select(home, query, batch_id))


def post(server, body, *, headers=None, **options):
    sent = {**server.headers, **(headers or {})}
    response = httpx.post(server.path, json=body, headers=sent, timeout=60, **options)
    assert response.status_code == 200, response.text
    return response.json()["result"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_batch_goes_on_after_every_kill_and_no_item_is_done_or_counted_twice(
    start, tmp_path, is_nightly
):
    n_kills = 40 if is_nightly else 2
    rng = random.Random(7)  # noqa: S311 - the same moments each time
    home = tmp_path / "served"
    server = start()
    key = {"Idempotency-Key": "story"}
    queue = {"params": {"queueRequest": "true"}}
    body = {"requests": [{**ITEM, "external_reference": f"{i}"} for i in range(N_ITEMS)]}
    first = post(server, body, headers=key, **queue)
    batch_id = first["request_id"]
    known: dict[int, str] = {}
    ended: Counter[str] = Counter()

    for _ in range(n_kills):
        n_wanted = min(N_ITEMS, len(known) + 1)
        wait_until(lambda n=n_wanted: len(done_results(home, batch_id)) >= n, 120)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.2))
        server.stop(signal.SIGKILL)
        now = done_results(home, batch_id)
        assert known.items() <= now.items(), "a result that was there has changed"
        known = now
        ended = Counter(line["request_id"] for line in server.logged("request finished"))
        server = start()
        assert post(server, body, headers=key, **queue) == first
    wait_until(lambda: "responses" in post(server, {"request_id": batch_id}), 300)

    finished = post(server, {"request_id": batch_id})
    by_id = {response["id"]: response for response in finished["responses"]}
    assert [by_id[i]["external_reference"] for i in range(N_ITEMS)] == [
        str(i) for i in range(N_ITEMS)
    ]
    assert all(response["success"] for response in finished["responses"])
    for position, result in known.items():
        assert by_id[position]["result"] == json.loads(result)
    ids = [item_request_id(batch_id, position) for position in range(N_ITEMS)]
    again = Counter(line["request_id"] for line in server.logged("request finished"))
    assert {again[ids[p]] - ended[ids[p]] for p in known} <= {0}, "something was computed again"
    wait_until(lambda: len(select(home, "SELECT request_id FROM usage")) >= N_ITEMS)
    assert sorted(r for (r,) in select(home, "SELECT request_id FROM usage")) == sorted(ids)
    assert select(home, "SELECT sum(requests) FROM daily_usage") == [(N_ITEMS,)]
    assert select(home, "SELECT count(*) FROM usage WHERE finish_reason = 'abort'") == [(0,)]
