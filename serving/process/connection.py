"""Connections that cost little as long as no whole request comes over them.

uvicorn waits for the headers of a request for ever, takes as many of them as there are, and answers in plain
text what is not HTTP. Whoever opens connections and sends next to nothing over them would have it to himself.
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

MAX_HEAD_BYTES = 64 * 2**10  # of the address and all headers of a request
MAX_HEADERS = 200
MAX_PIPELINED = 8  # requests that wait for the answer to one before them
LINGER_SECONDS = 2  # in which a client that is still sending may read why it is sent away
NOT_HTTP = "This is not an HTTP request: {part} cannot be read. Send one as RFC 9112 describes it."
PARTS = {  # of a request, by a word of what the parser says is wrong with it
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
OTHER_FILES = 200  # that a worker holds open beside its connections


def limit_connections() -> None:
    """Have the uvicorn of this process handle connections as this module says, and let it hold enough."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings().max_connections + OTHER_FILES
    soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), most)
    )


@cache
def most_connections() -> int:
    """Return how many connections this process may hold, which is not more than it can."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(settings().max_connections, files - OTHER_FILES))


class Connection(HttpToolsProtocol):
    """A connection whose client has to send headers in time, and not too many of them.

    One that waits for the client's next request gives way where there are too many.

    Attributes:
        idle: The connections of this process that wait for another request, longest first.
        turn_since: Since when it has been the client's turn to send, by the loop's clock.
        in_head: Whether a request has begun whose headers are not all there.
        head_bytes: How much of them is.
        problem: What is wrong with a request that the parser gives up.
        is_refused: Whether it will be closed, so that all it sends is thrown away.
        is_told: Whether the reason has been sent.
        has_progressed: Whether the parser has made anything of what came last.
        unparsed_bytes: How much has come since it last did.
        waiting_heads: Sizes of the headers of requests that wait for the answer to one before them.
        unsent_bytes: How much the client had still to read when that was last looked at.
        received: What came last.
    """

    idle: ClassVar[dict["Connection", None]] = {}  # since a set would have no order

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
        """Close the connection that has waited for its next request for longest, or else this one."""
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
        # The parser keeps what belongs together, be it a header or what may follow a body, until it has all.
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
        """Have the parser stop, which says that something is wrong, but not what."""
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
        """Whether nothing that has been asked is still to be answered."""
        return self.cycle is None or self.cycle.response_complete

    def check_time(self) -> None:
        """Close the connection if it is the client's turn, to send or to read, and has been for too long."""
        patience, before = settings().read_timeout_seconds, self.unsent_bytes
        self.unsent_bytes = self.transport.get_write_buffer_size()
        is_given_up = self.transport.is_closing() and not self.is_answered
        if self.unsent_bytes not in {0, before} and not is_given_up:
            self.look_again(patience)  # at whether it reads
            return
        if self.unsent_bytes or self.transport.is_closing() or self.is_told:
            self.transport.abort()
            return
        left = self.seconds_left()
        if left > 0:
            self.look_again(min(left, patience))  # by when another request may have begun
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
        """Return for how long the client may still take."""
        patience = settings().read_timeout_seconds
        if not self.is_answered and (self.is_refused or not self.in_head):
            return patience  # it waits, or sends a body, which has its time where it is read
        if not self.in_head and self.cycle is not None:  # for the rest of a body that has its answer already
            patience = settings().timeout_seconds if self.cycle.more_body else self.timeout_keep_alive
        return self.turn_since + patience - self.loop.time()

    def look_again(self, seconds: float) -> None:
        self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.check_time)

    def _should_upgrade(self) -> bool:
        """Return whether a request that the parser holds for one of another protocol is to be read again."""
        return bool(self.parser.get_method() != b"CONNECT")  # which has no body

    def handle_websocket_upgrade(self) -> None:
        """Read a request as if it had not asked for another protocol (RFC 9110, 7.8).

        The parser takes what follows its headers, be it a body or the next request, for the other protocol.
        A WebSocket would pass by all limits, and nothing here speaks over one.
        """
        (offset,) = sys.exception().args  # type: ignore[union-attr] # of what has come, where the parser stopped
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.received = b"\r\n".join([*lines, b"", self.received[offset:]])
        super().data_received(self.received)

    def send_400_response(self, _msg: str) -> None:
        """Refuse what is not HTTP, which uvicorn has found, or what there was no memory for."""
        error = sys.exception()
        if error is not None and is_out_of_memory(error.__context__):
            self.refuse(OutOfMemoryError())
        else:
            self.refuse(self.problem or MalformedRequestError(NOT_HTTP.format(part=part_of(error))))

    def refuse(self, problem: Problem) -> None:
        """Say why the connection is closed, and close it once the client has had time to read it."""
        self.is_refused = True
        self.look_again(LINGER_SECONDS)
        if not self.is_answered:
            if not self.cycle.more_body:  # or this would be taken for the answer to what was asked before
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True  # what is wrong is its body, of which no more will come
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
    """Return which part of a request an error of the parser is about, in words that are not the parser's."""
    said = str((error and error.__context__) or error).lower()
    return next((part for word, part in PARTS.items() if word in said), "it")


def headers_too_large() -> HeadersTooLargeError:
    return HeadersTooLargeError(
        f"The address and headers have more than {MAX_HEAD_BYTES:,} bytes. Send fewer, or shorter ones."
    )


def raw_answer(problem: Problem) -> bytes:
    """Return the answer to what is no request, as it goes over a connection that is closed after it."""
    given = request_id_of(())
    response = problem_response(document_of(problem) | {"request_id": given})
    headers = [*answer_headers(response.raw_headers, given), (b"connection", b"close")]
    lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
    return b"".join(lines) + bytes(response.body)
