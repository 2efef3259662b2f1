"""A client that sends any bytes, also ones that are not HTTP, and keeps its connection where it can."""

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
    """The service closed the connection without an answer."""


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection to the service, opened again whenever it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self.connection: socket.socket | None = None

    def ask(self, request: bytes) -> Answer:
        """Send the bytes of a request, and return the first answer.

        Raises:
            NoAnswerError: There is no answer.
        """
        self.send(request)
        return self.answer()

    def send(self, data: bytes) -> None:
        """Send bytes, or as many of them as the service reads before it closes the connection.

        Raises:
            NoAnswerError: There is no connection.
        """
        if self.connection is not None and is_over(self.connection):
            self.close()
        if self.connection is None:
            try:
                self.connection = socket.create_connection(self.address, timeout=ANSWERED_WITHIN_SECONDS)
            except OSError as error:
                raise NoAnswerError(f"no connection ({error})") from None
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # the service may answer and close before it has read all
            self.connection.sendall(data)

    def answer(self) -> Answer:
        """Return the next answer, and close the connection where that is its last.

        Raises:
            NoAnswerError: There is no answer.
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
    """Return whether the service has closed a connection, or sent something unasked."""
    return bool(select.select([connection], [], [], 0)[0])
