"""A small hub on this machine, in the hub's own words: listings, redirects to a storage host,
parts of files. Tests tell it how to misbehave.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34
REPO = "me/tiny"


@dataclass
class FakeHub:
    """A hub with one repository.

    Attributes:
        files: contents by name; those that end in .safetensors are stored as large files.
        listed: members of a file's row in the listing that are told differently.
        sent: contents that are sent in place of the true ones.
        cuts: after so many bytes each of the next answers with a large file is cut off.
        ignores_range: large files are always sent whole.
        refuses: status and error code of every answer to somebody without `token`.
        requests: method, path, range and authorization of each request.
    """

    files: dict[str, bytes]
    url: str = ""
    storage_url: str = ""
    token: str = "hf_good"  # noqa: S105 - made up
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ignores_range: bool = False
    refuses: tuple[int, str] | None = None
    listing: bytes | None = None
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Name what was asked for."""
        return [path for path, _, _ in self.requests]

    def model_info(self) -> bytes:
        """Write the listing."""
        if self.listing is not None:
            return self.listing
        rows = [self._row(name, content) for name, content in self.files.items()]
        return json.dumps({
            "_id": "1", "id": REPO, "modelId": REPO, "author": "me", "sha": COMMIT,
            "private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "createdAt": "2023-09-27T00:00:00.000Z", "siblings": rows,
        }).encode()  # fmt: skip

    def _row(self, name: str, content: bytes) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        row: dict[str, Any] = {
            "rfilename": name, "size": len(content), "blobId": git.hexdigest(),
        }  # fmt: skip
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(content).hexdigest()
            row["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        return row | self.listed.get(name, {})


@contextlib.contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Run the hub, and its storage host, on two ports."""
    handler = type("HandlerOfHub", (Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url, hub.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in servers)
    threads = [threading.Thread(target=s.serve_forever, args=(0.02,)) for s in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(30)


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub and for its storage host."""

    hub: FakeHub

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        token = self.headers.get("authorization")
        self.hub.requests.append((path, self.headers.get("range"), token))
        if path.startswith("/storage/"):
            self.send_file(path.removeprefix("/storage/"))
        elif self.hub.refuses and token != f"Bearer {self.hub.token}":
            self.send(self.hub.refuses[0], b"{}", {"X-Error-Code": self.hub.refuses[1]})
        elif path in (f"/api/models/{REPO}", f"/api/models/{REPO}/revision/v1"):
            self.send(200, self.hub.model_info())
        elif path.startswith(f"/api/models/{REPO}/revision/"):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            self.resolve(path.removeprefix(f"/{REPO}/resolve/{COMMIT}/"))
        else:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def resolve(self, name: str) -> None:
        content = self.hub.sent.get(name, self.hub.files[name])
        tell = {"X-Repo-Commit": COMMIT}
        if not name.endswith(".safetensors"):
            self.send(200, content, {**tell, "ETag": '"small"'})
            return
        tell["Location"] = f"{self.hub.storage_url}/storage/{name}?signature=x"
        tell["X-Linked-Size"] = str(len(content))
        tell["X-Linked-ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        self.send(302, b"", tell)

    def send_file(self, name: str) -> None:
        if self.hub.statuses:
            self.send(self.hub.statuses.pop(0), b"")
            return
        content = self.hub.sent.get(name, self.hub.files[name])
        first, wanted = 0, self.headers.get("range")
        if wanted and not self.hub.ignores_range:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body, headers = content[first:], {}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if self.hub.cuts:
            self.send(206 if first else 200, body, headers, cut=self.hub.cuts.pop(0))
        else:
            self.send(206 if first else 200, body, headers)

    def send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass
