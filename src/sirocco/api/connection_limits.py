"""The numbers of a connection's limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may take.

    Attributes:
        max_header_bytes, max_headers: of a request: its first line, its headers, its trailers.
        header_timeout_s: in which a header has to be whole.
        body_timeout_s: in which a body has to be whole, …
        body_bytes_per_s: … and a second more for each of so many bytes that have come.
        keep_alive_s: that a connection may be without a request.
        reader_timeout_s: in which something of an answer has to be taken.
        max_connections: at the same time, of a server.
    """

    max_header_bytes: int
    max_headers: int
    header_timeout_s: float
    body_timeout_s: float
    body_bytes_per_s: int
    keep_alive_s: float
    reader_timeout_s: float
    max_connections: int
