"""Connections: what is told to a client whose request cannot even be taken apart."""

import asyncio
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from serving.process.connection import Connection


class Forgetful(Connection):
    """A connection that finds no memory for a header."""

    def on_header(self, *_: bytes) -> None:
        raise MemoryError


@pytest.mark.parametrize(
    ("kind", "sent", "status", "problem"),
    [
        pytest.param(Connection, b"Hello\r\n\r\n", b"400", b"malformed-request", id="no HTTP"),
        pytest.param(
            Connection,
            b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
            b"431",
            b"headers-too-large",
            id="a long header",
        ),
        pytest.param(
            Forgetful, b"GET / HTTP/1.1\r\nX: y\r\n\r\n", b"503", b"out-of-memory", id="no memory left"
        ),
    ],
)
def test_what_cannot_be_taken_apart_is_answered_with_the_reason(kind, sent, status, problem):
    transport = Mock(is_closing=Mock(return_value=False), get_extra_info=Mock(return_value=None))

    async def receive() -> None:
        connection = kind(Config(app=Mock()), ServerState(), {})
        connection.connection_made(transport)
        connection.data_received(sent)
        connection.connection_lost(None)

    asyncio.run(receive())

    (answer,) = (call.args[0] for call in transport.write.call_args_list)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"urn:driftbento:problem:" + problem in answer
    assert b"x-request-id" in answer
