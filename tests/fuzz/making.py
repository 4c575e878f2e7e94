"""Makes requests, right ones and wrong ones, of every route; each from its own number alone."""

import gzip
import json
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

Body = dict[str, Any]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 50, 51, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63),
    10**400, 0.0, -0.0, 0.5, 1.0, 1.5, 5e-324, 1e308, -1e308, float("nan"), float("inf"),
    "", " ", "\x00",
    "\ud800", "\udfff\ud800", "\u202e", "e\u0301", "\U0001f300" * 3, "a" * 5000, "</s>", "[INST]",
    "true", "1", "null", "NaN", [], {}, [[]], [None], [{}], {"": None}, [1, 2.5, "x"],
    {"a": {"b": [{"c": None}]}}, ["x"] * 100, {"type": "json_schema", "json_schema": {}},
    {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, {"type": "json_object"},
    {"$ref": "http://127.0.0.1:1/x"}, {"pattern": "(a+)+$", "type": "string"},
    "../../etc/passwd", "' OR 1=1 --", "${jndi:ldap://x}", "%00", "\r\nx-evil: 1",
)  # fmt: skip
"""Values that somewhere are wrong, and somewhere right."""

RAW_BODIES = (
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"}", b'{"prompt":', b'{"prompt": "x"',
    b'{"prompt": NaN}', b'{"prompt": "x", "seed": Infinity}',
    b'{"prompt": "x", "temperature": 1e999}',
    b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", b"[" * 5000, b'{"a":' * 5000,
    b'{"prompt": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"prompt": "\xff\xfe"}',
    b"\xef\xbb\xbf" + b'{"prompt": "x", "max_tokens": 1}', '{"prompt": "x"}'.encode("utf-16"),
    '{"prompt": "x"}'.encode("utf-32"), b'{"prompt": "x", "prompt": 5}', b"prompt=x&max_tokens=1",
    b"\x1f\x8b", b"\x1f\x8b\x08\x00garbage", gzip.compress(b'{"prompt": "x", "max_tokens": 1}'),
    gzip.compress(b'{"prompt": "x", "max_tokens": 1}') + b"more", gzip.compress(b"0" * 20_000_000),
    b'{"prompt": "\\ud800", "max_tokens": 1}', b'{"\\u0000": 1, "prompt": "x", "max_tokens": 1}',
    bytes(range(256)), b"--b\r\ncontent-disposition: form-data; name=x\r\n\r\ny\r\n--b--\r\n",
)  # fmt: skip

SOCKET_BYTES = (
    b"\r\n\r\n", b"\x00" * 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nx\r\n\r\n",
    b"POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    b"POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    b"POST /run HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    b"POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /%ff%00 HTTP/1.1\r\nhost: x\r\n\r\n",
)  # fmt: skip
"""What is not HTTP, or hardly."""

CONTENT_TYPES = (
    "application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data",
    "application/x-www-form-urlencoded", "application/octet-stream", "x", "", "image/png",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """A request as it is sent.

    Attributes:
        raw: sent in place of all that, if there is any.
        leaves_after: bytes of the answer after which the client is gone; None reads it all.
        is_strange: perhaps it is no HTTP, in the eyes of who parses it.
        is_binding: errors may have the form of the binding protocol.
        is_right: it is answered, if there is room.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes | None = None
    leaves_after: int | None = None
    is_strange: bool = False
    is_binding: bool = False
    is_right: bool = False

    @property
    def bytes_sent(self) -> bytes:
        """All that goes over the wire."""
        if self.raw is not None:
            return self.raw
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + self.body


class Maker:
    """Makes a request from a number; the same one each time.

    Args:
        token: good credentials of the account.
    """

    def __init__(self, seed: int, account_id: str, token: str, model_id: str) -> None:
        self._seed = seed
        self._base = f"/client/v4/accounts/{account_id}"
        self._good = {"authorization": f"Bearer {token}"}
        self._model_id = model_id

    def request(self, number: int) -> Made:
        """Make one."""
        rng = random.Random(f"{self._seed}-{number}")  # noqa: S311 - to be made again
        kinds = (self._right, self._mutated, self._raw_body, self._query, self._strange_way,
                 self._leaving, self._bytes)  # fmt: skip
        (kind,) = rng.choices(kinds, weights=(10, 45, 12, 12, 12, 7, 2))
        made: Made = kind(rng)
        return made

    # --- kinds ---

    def _right(self, rng: random.Random) -> Made:
        made, body = self._asked(rng)
        return replace(made, body=_written(body), is_right=True)

    def _mutated(self, rng: random.Random) -> Made:
        made, body = self._asked(rng)
        for _ in range(rng.randint(1, 3)):
            body = _mutate(rng, body)
        return replace(made, body=_written(body))

    def _raw_body(self, rng: random.Random) -> Made:
        made, _ = self._asked(rng)
        body = rng.choice(RAW_BODIES)
        if rng.random() < 0.3:
            body = rng.randbytes(rng.randint(0, 200))
        headers = {**made.headers, "content-type": rng.choice(CONTENT_TYPES)}
        if rng.random() < 0.3:
            headers["content-encoding"] = rng.choice(("gzip", "br", "identity", "x"))
        return replace(made, body=body, headers=headers)

    def _query(self, rng: random.Random) -> Made:
        path, names = rng.choice(self._looks())
        parameters = [f"{name}={_in_query(rng)}" for name in names if rng.random() < 0.4]
        if rng.random() < 0.2:
            parameters.append(f"{_word(rng)}={_in_query(rng)}")
        query = "?" + "&".join(parameters) if parameters else ""
        return Made("GET", path + query, self._good)

    def _strange_way(self, rng: random.Random) -> Made:
        """A right body, but a wrong method, path, or credentials."""
        made, body = self._asked(rng)
        what = rng.randrange(4)
        if what == 0:
            method = rng.choice(("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE"))
            return replace(made, method=method, body=_written(body))
        if what == 1:
            place = rng.randint(1, len(made.path))
            wrong = rng.choice(("/", "//", "%2F", "%00", "..", "%ff", ";", "a", "%e2%80%ae", "@"))
            path = made.path[:place] + wrong + made.path[place:]
            return replace(made, path=path, body=_written(body), is_binding=True, is_strange=True)
        if what == 2:
            wrong = rng.choice(("", "Bearer", "Bearer x", "Basic eDp5", f"Bearer {'a' * 40}",
                                "Bearer " + "a" * 3000, "bearer \xe9" + "a" * 39))  # fmt: skip
            headers = {**made.headers, "authorization": wrong}
            return replace(made, headers=headers, body=_written(body))
        headers = {
            **made.headers,
            rng.choice(
                (
                    "host",
                    "origin",
                    "x-forwarded",
                    "mf-url",
                    "range",
                    "idempotency-key",
                    "cf-consn-model-id",
                    "accept",
                    "expect",
                    "x-forwarded-for",
                )
            ): rng.choice(("", "x", "https://evil.example/run?version=3", "a" * 300, "\xff", "*")),
        }
        return replace(made, headers=headers, body=_written(body), is_binding=True)

    def _leaving(self, rng: random.Random) -> Made:
        """A client that goes before its answer is whole."""
        makers = (self._run, self._chat, self._completion, self._response)
        made, body = rng.choice(makers)(rng)
        body["stream"] = rng.random() < 0.8
        return replace(made, body=_written(body), leaves_after=rng.choice((0, 1, 200, 400, 2000)))

    def _bytes(self, rng: random.Random) -> Made:
        raw = rng.choice(SOCKET_BYTES)
        return Made("", "", raw=rng.randbytes(50) if rng.random() < 0.2 else raw)

    # --- routes ---

    def _asked(self, rng: random.Random) -> tuple[Made, Body]:
        makers: tuple[Callable[[random.Random], tuple[Made, Body]], ...] = (
            self._run, self._named, self._chat, self._completion, self._response, self._inspect,
            self._batch, self._poll, self._embed, self._workerd, self._proxied, self._miniflare,
            self._tensors,
        )  # fmt: skip
        return rng.choices(makers, weights=(8, 2, 6, 4, 4, 2, 1, 2, 1, 3, 1, 1, 2))[0](rng)

    def _post(self, path: str, *, is_binding: bool = False, **headers: str) -> Made:
        return Made("POST", path, self._good | headers, is_binding=is_binding)

    def _run(self, rng: random.Random) -> tuple[Made, Body]:
        model_id = rng.choice((self._model_id, self._model_id.replace("/", "%2F")))
        return self._post(f"{self._base}/ai/run/{model_id}"), _text(rng)

    def _named(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"model": self._model_id, "input": _text(rng), "options": {"rejectIfBusy": False}}
        return self._post(f"{self._base}/ai/run"), body

    def _chat(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"model": self._model_id, "messages": _turns(rng), **_openai(rng)}
        if rng.random() < 0.2:
            body |= {"logprobs": True, "top_logprobs": rng.randint(0, 5)}
        return self._post(f"{self._base}/ai/v1/chat/completions"), body

    def _completion(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"model": self._model_id, "prompt": _said(rng), **_openai(rng)}
        return self._post(f"{self._base}/ai/v1/completions"), body

    def _response(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"model": self._model_id, "input": rng.choice((_said(rng), _turns(rng))),
                "max_output_tokens": rng.randint(1, 4), "stream": rng.random() < 0.3}  # fmt: skip
        return self._post(f"{self._base}/ai/v1/responses"), body

    def _embed(self, rng: random.Random) -> tuple[Made, Body]:
        path = f"{self._base}/ai/v1/embeddings"
        return self._post(path), {"model": self._model_id, "input": [_said(rng)]}

    def _inspect(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"prompt": _said(rng), "layers": [0], "heads": [0, 1], "alternatives": 1}
        return self._post(f"{self._base}/ai/inspect/{self._model_id}"), body

    def _batch(self, rng: random.Random) -> tuple[Made, Body]:
        body = {"requests": [_text(rng) | {"external_reference": "x"}]}
        return self._post(f"{self._base}/ai/run/{self._model_id}?queueRequest=true"), body

    def _poll(self, rng: random.Random) -> tuple[Made, Body]:
        return self._post(f"{self._base}/ai/run/{self._model_id}"), {"request_id": _word(rng)}

    def _workerd(self, rng: random.Random) -> tuple[Made, Body]:
        path = f"/run?version={rng.choice((2, 3))}"
        made = self._post(path, is_binding=True, **{"cf-consn-model-id": self._model_id})
        return made, {"inputs": _text(rng), "options": {}}

    def _proxied(self, rng: random.Random) -> tuple[Made, Body]:
        headers = {"cf-consn-model-id": self._model_id, "x-forwarded": "https://x/run?version=3"}
        made = self._post(f"{self._base}/ai/run/proxy", is_binding=True, **headers)
        return made, {"inputs": _text(rng), "options": {}}

    def _miniflare(self, rng: random.Random) -> tuple[Made, Body]:
        headers = {
            "mf-header-cf-consn-model-id": self._model_id,
            "mf-url": "https://x/run?version=3",
        }
        return self._post("/", is_binding=True, **headers), {"inputs": _text(rng), "options": {}}

    def _tensors(self, rng: random.Random) -> tuple[Made, Body]:
        text = {"type": "str", "shape": [1], "name": "INPUT_0", "value": [_said(rng)]}
        count = {"type": "uint32", "shape": [1], "name": "INPUT_1", "value": [rng.randint(1, 3)]}
        made = self._post("/run", is_binding=True, **{"cf-consn-model-id": self._model_id})
        return made, {"input": [text, count], "stream": rng.random() < 0.3}

    def _looks(self) -> Sequence[tuple[str, Sequence[str]]]:
        searched = ("search", "task", "author", "source", "hide_experimental", "page", "per_page",
                    "include_deprecated", "format")  # fmt: skip
        planned = ("model", "on", "weights", "kv_format", "context", "batch", "usd_per_hour",
                   "n_kv_heads", "window")  # fmt: skip
        ai = f"{self._base}/ai"
        return (
            (f"{ai}/models/search", searched), (f"{ai}/models/schema", ("model",)),
            (f"{ai}/tasks/search", searched), (f"{ai}/authors/search", searched),
            (f"{ai}/plan", planned), (f"{ai}/plan/choices", ()), (f"{ai}/finetunes", ()),
            (f"{ai}/usage", ("by", "since", "until")), (f"{ai}/v1/models", ()),
            (f"{ai}/inspect/requests/x", ()), (self._base, ()), ("/client/v4/user", ()),
            ("/client/v4/accounts", ("page", "per_page")), ("/client/v4/memberships", ("page",)),
            ("/client/v4/user/tokens/verify", ()), (f"{self._base}/tokens/verify", ()),
            ("/ai-api/models/search", searched),
        )  # fmt: skip


# --- parts of bodies ---


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 8)))


def _said(rng: random.Random) -> str:
    return " ".join(_word(rng) for _ in range(rng.randint(1, 3)))


def _turns(rng: random.Random) -> list[Body]:
    roles = ["system"] * (rng.random() < 0.2) + ["user"]
    return [{"role": role, "content": _said(rng)} for role in roles]


def _text(rng: random.Random) -> Body:
    """Make a right body of a run, with some of its fields."""
    body: Body = {"max_tokens": rng.randint(1, 4)}
    body |= {"prompt": _said(rng)} if rng.random() < 0.6 else {"messages": _turns(rng)}
    some = {
        "temperature": rng.uniform(0, 5), "top_p": rng.uniform(0.001, 1),
        "top_k": rng.randint(1, 50), "seed": rng.randint(1, 9_999_999_999),
        "repetition_penalty": rng.uniform(0.01, 2),
        "frequency_penalty": rng.uniform(-2, 2), "presence_penalty": rng.uniform(-2, 2),
        "stop": _word(rng), "stream": rng.random() < 0.5, "options": {"rejectIfBusy": False},
        _word(rng): rng.choice((1, "x", None)),
    }  # fmt: skip
    return body | {name: value for name, value in some.items() if rng.random() < 0.2}


def _openai(rng: random.Random) -> Body:
    some = {
        "temperature": rng.uniform(0, 5), "top_p": rng.uniform(0.01, 1), "min_p": rng.random(),
        "n": rng.randint(1, 3), "seed": rng.randint(-(2**63), 2**64 - 1), "stop": [_word(rng)],
        "logit_bias": {str(rng.randint(0, 300)): rng.uniform(-100, 100)},
        "stream": rng.random() < 0.5, "stream_options": {"include_usage": True},
        "repetition_penalty": rng.uniform(0.1, 10),
    }  # fmt: skip
    return {"max_tokens": rng.randint(1, 4)} | {
        name: value for name, value in some.items() if rng.random() < 0.2
    }


_FIELDS = (
    "prompt", "messages", "raw", "stream", "max_tokens", "temperature", "top_p", "top_k", "seed",
    "stop", "response_format", "guided_json", "tools", "tool_choice", "lora", "options", "requests",
    "request_id", "functions", "model", "input", "inputs", "n", "logprobs", "top_logprobs",
    "logit_bias", "max_completion_tokens", "min_p", "layers", "heads", "encoding", "answer",
    "parallel_tool_calls", "queueRequest", "instructions", "stream_options", "best_of", "echo",
)  # fmt: skip


def _mutate(rng: random.Random, value: Any) -> Any:
    """Change something in a JSON value, anywhere."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed = dict(value)
        name = rng.choice(list(value))
        what = rng.random()
        if what < 0.15:
            del changed[name]
        elif what < 0.45:
            changed[rng.choice(_FIELDS)] = rng.choice(ODD)
        elif what < 0.55:
            changed[_word(rng)] = rng.choice(ODD)
        else:
            changed[name] = _mutate(rng, value[name])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.6:
        place = rng.randrange(len(value))
        return [*value[:place], _mutate(rng, value[place]), *value[place + 1 :]]
    return rng.choice(ODD)


def _written(body: object) -> bytes:
    return json.dumps(body).encode()


_IN_QUERIES = (
    "1", "2", "true", "mistral", "", "2026-01-01", "day", "token", "h200", "mistral-7b", "none",
    "4096", "Text+Generation",
)  # fmt: skip


def _in_query(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return rng.choice(_IN_QUERIES)
    value = rng.choice(ODD)
    return quote(str(value)[:400], errors="replace")
