"""How much processor time does a request cost that gets no answer?

A flood is refused as fast as the event loop can say no, so a refusal has to cost far less than a
request that is answered. A real server has an engine that computes nothing (`_token_mill.py`).
First it answers requests of one token; then all places are held by streams that do not end, and
one account asks on. What is counted is the main thread, where the event loop runs, per request;
clients are in this process. Needs Linux's /proc.
"""

import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from _report import arguments, finish, median_and_p95
from streaming import Server, serving

N_PLACES = 8
N_REQUESTS = 800
MODEL = "@sirocco/breeze-instruct"
BODY = {"prompt": "Tell me a long story about the sea. " * 8, "max_tokens": 1}

Connections = list[socket.socket]


def main() -> None:
    """Ask the question for each way in which a request can end."""
    options = arguments(str(__doc__)).parse_args()
    with tempfile.TemporaryDirectory() as home, serving(home, N_PLACES) as server:
        run, chat = request(server, BODY), openai_request(server)
        stranger = run.replace(server.secret.encode(), b"x" * 40)
        asked(server, run, 200, n=N_PLACES)  # starts the engine
        rows = [
            measured(server, "answered", run, 200, options.runs),
            measured(server, "a stranger", stranger, 401, options.runs),
        ]
        with held(server):
            rows += [
                measured(server, "no room", run, 429, options.runs),
                measured(server, "no room, /ai/v1", chat, 429, options.runs),
                measured(server, "no room, connections stay", run, 429, options.runs, reuse=True),
            ]
    finish("refusals", rows, save=options.save)


def request(server: Server, body: dict[str, object], path: str | None = None) -> bytes:
    """Write a request out."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path or server.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.secret}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def openai_request(server: Server) -> bytes:
    """Write one whose body names the model."""
    path = server.path.partition("/run/")[0] + "/v1/chat/completions"
    messages = [{"role": "user", "content": BODY["prompt"]}]
    return request(server, {"messages": messages, "max_tokens": 1, "model": MODEL}, path)


@contextmanager
def held(server: Server) -> Iterator[None]:
    """Take all places, with streams of which nobody sees an end."""
    endless = request(server, {**BODY, "max_tokens": 1_000_000, "stream": True})
    with ExitStack() as stack:
        for connection in connections(server, N_PLACES):
            stack.enter_context(connection)
            connection.sendall(endless)
            assert connection.recv(12) == b"HTTP/1.1 200"
        yield


def measured(
    server: Server, name: str, asking: bytes, status: int, n_runs: int, *, reuse: bool = False
) -> dict[str, object]:
    """Ask many times, as many at once as there are places."""
    costs_us = []
    for _ in range(n_runs):
        began_s = server.loop_s
        asked(server, asking, status, n=N_REQUESTS, reuse=reuse)
        costs_us.append((server.loop_s - began_s) / N_REQUESTS * 1e6)
    median, p95 = median_and_p95(costs_us)
    row: dict[str, object] = {
        "request": name, "status": status,
        "loop_us": round(median, 1), "loop_us_p95": round(p95, 1),
    }  # fmt: skip
    print(*(f"{key} {value}" for key, value in row.items()), sep="  ", flush=True)
    return row


def asked(server: Server, asking: bytes, status: int, *, n: int, reuse: bool = False) -> None:
    """Ask `n` times and look at the status of each answer."""
    open_ones: Connections = connections(server, N_PLACES) if reuse else []
    for _ in range(n // N_PLACES):
        asking_now = open_ones or connections(server, N_PLACES)
        each(asking_now, lambda connection: connection.sendall(asking))
        each(asking_now, lambda connection: read_answer(connection, status))
        if not reuse:
            each(asking_now, socket.socket.close)
    each(open_ones, socket.socket.close)


def connections(server: Server, n: int) -> Connections:
    """Open some."""
    return [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(n)]


def each(those: Sequence[socket.socket], do: Callable[[socket.socket], object]) -> None:
    """Do the same with all."""
    for connection in those:
        do(connection)


def read_answer(connection: socket.socket, status: int) -> None:
    """Read one whole answer; all that are asked for here are JSON objects."""
    data = connection.recv(65536)
    while not data.endswith(b"}"):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    assert data.startswith(f"HTTP/1.1 {status} ".encode()), data[:200]


if __name__ == "__main__":
    main()
