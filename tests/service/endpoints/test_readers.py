"""Clients that ask and do not read what they are answered: they are let go, and others are served."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx

from tests.support.processes import ports_of, wait_until, worker_of

READ_TIMEOUT_SECONDS = 2
REQUESTS = 6  # each with an answer of some 2 MB, where the system keeps 4 MB at most that are not read


def deaf(client: httpx.Client) -> socket.socket:
    """Return a connection that takes next to nothing until it is read from."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((client.base_url.host, client.base_url.port))
    return connection


def with_a_long_answer(client: httpx.Client) -> bytes:
    """Return a request with a thousand files that are no images, whose answer repeats their long names."""
    files = [("images", (f"{index:0900d}", b"?", "")) for index in range(1000)]
    request = httpx.Request("POST", client.base_url.join("/classify"), files=files)
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /classify HTTP/1.1\r\n{head}\r\n".encode() + body


def test_a_client_that_asks_on_and_reads_nothing_loses_its_connection(store, serve, as_files, held_out):
    limits = {"READ_TIMEOUT_SECONDS": str(READ_TIMEOUT_SECONDS)}
    with serve(store, **limits) as client, ThreadPoolExecutor() as pool, deaf(client) as connection:
        worker, port = worker_of(client), connection.getsockname()[1]
        began = time.monotonic()

        def ask() -> None:
            with suppress(ConnectionError):
                connection.sendall(with_a_long_answer(client) * REQUESTS)

        asking = pool.submit(ask)
        wait_until(lambda: port in ports_of(worker))
        wait_until(lambda: port not in ports_of(worker))
        took = time.monotonic() - began
        asking.result()
        next_ = client.post("/classify", files=as_files(held_out.images[:1]))

    assert took < 3 * READ_TIMEOUT_SECONDS + 10  # for the answers themselves, on a busy machine
    assert next_.json()["results"][0]["label"] == str(int(held_out.labels[0]))
