"""A client for what others will not send: bytes as they are, on a connection that is kept where it can be."""

import http.client
import json
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

ANSWERED_WITHIN_SECONDS = 120


class NoAnswerError(Exception):
    """The service closed the connection without a word."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection to the service, opened when it is needed and as often as it is."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self.connection: socket.socket | None = None

    def ask(self, request: bytes) -> Answer:
        """Send the bytes of a request, and return the first answer to them.

        Raises:
            NoAnswerError: There is none.
        """
        self.send(request)
        return self.answer()

    def send(self, data: bytes) -> None:
        """Send bytes, as many as the service takes before it closes the connection."""
        if self.connection is not None and is_over(self.connection):
            self.close()
        if self.connection is None:
            try:
                self.connection = socket.create_connection(self.address, timeout=ANSWERED_WITHIN_SECONDS)
            except OSError as error:
                raise NoAnswerError(f"no connection ({error})") from None
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # it may have answered, without reading all
            self.connection.sendall(data)

    def answer(self) -> Answer:
        """Return the next answer; where it is the connection's last, the next request gets a new one.

        Raises:
            NoAnswerError: There is none.
        """
        assert self.connection is not None
        response = http.client.HTTPResponse(self.connection)
        try:
            response.begin()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswerError(f"{type(error).__name__}: {error}") from None
        if response.will_close:
            self.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def is_over(connection: socket.socket) -> bool:
    """Say whether the service has closed a connection, or said something on it that nobody asked for."""
    return bool(select.select([connection], [], [], 0)[0])
