"""Limits on connections: their number, their time without a request, and the size of headers.

uvicorn waits for the headers of a request for ever, reads any number of them, and answers invalid HTTP in
plain text. Clients that open connections and send next to nothing would keep all others out.
"""

import asyncio
import resource
import sys
from collections import deque
from functools import cache
from typing import ClassVar, NoReturn

import uvicorn.config
from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.errors import HeadersTooLargeError, MalformedRequestError, OutOfMemoryError, SlowClientError
from serving.middleware.request_id import answer_headers, request_id_of
from serving.problems import document_of, is_out_of_memory, problem_response
from serving.process.host_header import check_host
from serving.settings import settings
from vision.errors import Problem

MAX_HEAD_BYTES = 64 * 2**10  # the URL and all headers of a request
MAX_HEADERS = 200
MAX_PIPELINED = 8  # requests of a connection that wait for the answer to an earlier one
LINGER_SECONDS = 2  # time for a client that is still sending to read why it is refused
NOT_HTTP = "This is not an HTTP request: {part} cannot be read. Send one as RFC 9112 describes it."
PARTS = {  # parts of a request, by a word of the parser's message
    "present with": "Content-Length beside Transfer-Encoding",
    "method": "the method",
    "chunk": "a chunk",
    "content-length": "Content-Length",
    "transfer-encoding": "Transfer-Encoding",
    "url": "the address",
    "header": "a header",
    "http/": "the version",
    "version": "the version",
    "dot": "the version",
}
OTHER_FILES = 200  # files that a worker holds open beside its connections


def limit_connections() -> None:
    """Make uvicorn in this process use `Connection`, and raise the limit on open files as needed."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings().max_connections + OTHER_FILES
    soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, now), most))


@cache
def most_connections() -> int:
    """Return how many connections this process may hold, by its settings and its limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(settings().max_connections, files - OTHER_FILES))


class Connection(HttpToolsProtocol):
    """A connection whose client has to send its headers in time, and not too many of them.

    When there are too many connections, the one that has been idle for longest is closed.

    Attributes:
        idle: The connections of this process that wait for their next request, the longest first.
        turn_since: When the client's turn to send began, by the loop's clock.
        in_head: Whether a request has begun whose headers have not all arrived.
        head_bytes: Bytes of the headers that have arrived.
        problem: The error for which the parser has given a request up.
        is_refused: Whether the connection will be closed, so that all that arrives is thrown away.
        is_told: Whether the client has been sent the reason.
        has_progressed: Whether the parser has found anything in the last bytes.
        unparsed_bytes: Bytes since the parser last found something.
        waiting_heads: Sizes of the headers of requests that wait for the answer to an earlier one.
        unsent_bytes: Bytes that the client had not read at the last check.
        received: The last bytes.
    """

    idle: ClassVar[dict["Connection", None]] = {}  # an ordered set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.is_refused = self.is_told = self.in_head = self.has_progressed = False
        self.head_bytes = self.unparsed_bytes = self.unsent_bytes = 0
        self.waiting_heads = deque[int]()
        self.problem: Problem | None = None
        self.turn_since = self.loop.time()
        self.timer = self.loop.call_later(settings().read_timeout_seconds, self.check_time)
        if len(self.connections) > most_connections():
            self.give_way()

    def give_way(self) -> None:
        """Close the connection that has been idle for longest or, if none is, this one."""
        longest = next(iter(self.idle), None)
        if longest is None or longest.transport.get_write_buffer_size():  # it has not read its answer yet
            self.transport.abort()
        else:
            del self.idle[longest]
            longest.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        self.has_progressed, self.received = False, data
        super().data_received(data)
        # The parser buffers a header, or what follows a body, until it is complete.
        self.unparsed_bytes = 0 if self.has_progressed else self.unparsed_bytes + len(data)
        if self.unparsed_bytes > MAX_HEAD_BYTES and not self.is_refused:
            self.refuse(headers_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.idle.pop(self, None)
        self.in_head, self.head_bytes, self.turn_since = True, 0, self.loop.time()
        self.has_progressed = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.add_to_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.add_to_head(len(name) + len(value))
        if len(self.headers) > MAX_HEADERS:
            self.give_up(
                HeadersTooLargeError(f"The request has more than {MAX_HEADERS} headers. Send fewer.")
            )

    def add_to_head(self, size: int) -> None:
        self.has_progressed = True
        self.head_bytes += size
        if self.head_bytes + sum(self.waiting_heads) > MAX_HEAD_BYTES:
            self.give_up(headers_too_large())

    def give_up(self, problem: Problem) -> NoReturn:
        """Stop the parser, and keep the error, which the parser would lose."""
        self.problem = problem
        raise problem

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self.give_up(MalformedRequestError("Wait for answers before you send more requests."))
        try:
            check_host(self.headers, self.parser.get_http_version())
        except MalformedRequestError as problem:
            self.give_up(problem)
        n_waiting = len(self.pipeline)
        super().on_headers_complete()
        self.in_head = False
        if len(self.pipeline) > n_waiting:
            self.waiting_heads.append(self.head_bytes)

    def on_body(self, body: bytes) -> None:
        self.has_progressed = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        n_waiting = len(self.pipeline)
        super().on_response_complete()
        if len(self.pipeline) < n_waiting:
            self.waiting_heads.popleft()
        elif not self.in_head and not self.transport.is_closing():
            self.idle[self] = None
        self.turn_since = self.loop.time()

    @property
    def is_answered(self) -> bool:
        """Whether all requests have been answered."""
        return self.cycle is None or self.cycle.response_complete

    def check_time(self) -> None:
        """Close the connection if the client has taken too long to send or to read."""
        patience, before = settings().read_timeout_seconds, self.unsent_bytes
        self.unsent_bytes = self.transport.get_write_buffer_size()
        is_given_up = self.transport.is_closing() and not self.is_answered
        if self.unsent_bytes not in {0, before} and not is_given_up:
            self.look_again(patience)  # the client is reading
            return
        if self.unsent_bytes or self.transport.is_closing() or self.is_told:
            self.transport.abort()
            return
        left = self.seconds_left()
        if left > 0:
            self.look_again(min(left, patience))  # another request may have begun by then
        elif self.in_head and not self.is_refused:
            self.refuse(
                SlowClientError(
                    f"The request's headers have not come within {patience:g} seconds. Send it again."
                )
            )
        else:
            self.transport.close()
            self.look_again(LINGER_SECONDS)

    def seconds_left(self) -> float:
        """Return how long the client may still take."""
        patience = settings().read_timeout_seconds
        if not self.is_answered and (self.is_refused or not self.in_head):
            return patience  # the client waits, or sends a body, which has a time limit of its own
        if not self.in_head and self.cycle is not None:  # idle, or sending a body that is answered already
            patience = settings().timeout_seconds if self.cycle.more_body else self.timeout_keep_alive
        return self.turn_since + patience - self.loop.time()

    def look_again(self, seconds: float) -> None:
        self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.check_time)

    def _should_upgrade(self) -> bool:
        """Return whether to read a request with an Upgrade header once more, as if it had none."""
        return bool(self.parser.get_method() != b"CONNECT")  # a CONNECT request has no body

    def handle_websocket_upgrade(self) -> None:
        """Read a request as if it had no Upgrade header (RFC 9110, 7.8).

        The parser takes what follows the headers, a body or the next request, for the other protocol. Nothing
        here uses WebSockets, which would bypass all limits.
        """
        (offset,) = sys.exception().args  # type: ignore[union-attr] # where the parser stopped
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.received = b"\r\n".join([*lines, b"", self.received[offset:]])
        super().data_received(self.received)

    def send_400_response(self, _msg: str) -> None:
        """Refuse invalid HTTP that uvicorn has found, or a request for which there was no memory."""
        error = sys.exception()
        if error is not None and is_out_of_memory(error.__context__):
            self.refuse(OutOfMemoryError())
        else:
            self.refuse(self.problem or MalformedRequestError(NOT_HTTP.format(part=part_of(error))))

    def refuse(self, problem: Problem) -> None:
        """Tell the client why, and close the connection once it has had time to read that."""
        self.is_refused = True
        self.look_again(LINGER_SECONDS)
        if not self.is_answered:
            if not self.cycle.more_body:  # else this would be taken for the answer to the earlier request
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True  # the fault is in its body, which is not read any further
            self.cycle.message_event.set()
            if self.cycle.response_started or self.pipeline:
                self.transport.close()
                return
        self.is_told = True
        self.transport.write(raw_answer(problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


def part_of(error: BaseException | None) -> str:
    """Return which part of a request an error of the parser is about, in words of our own."""
    said = str((error and error.__context__) or error).lower()
    return next((part for word, part in PARTS.items() if word in said), "it")


def headers_too_large() -> HeadersTooLargeError:
    return HeadersTooLargeError(
        f"The address and headers have more than {MAX_HEAD_BYTES:,} bytes. Send fewer, or shorter ones."
    )


def raw_answer(problem: Problem) -> bytes:
    """Return the bytes of an answer after which the connection is closed."""
    given = request_id_of(())
    response = problem_response(document_of(problem) | {"request_id": given})
    headers = [*answer_headers(response.raw_headers, given), (b"connection", b"close")]
    lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
    return b"".join(lines) + bytes(response.body)
