"""A program between a soak and the service that has faults: `python leaky_proxy.py SERVICE_PORT FAULT ...`.

It prints its own port. What it forwards is right but for its faults, which show in turn, now and then, or for
good once they have begun.
"""

import itertools
import os
import socket
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress

HEALTHY, EVERY = 60, 5  # answers before the first fault, and from one to the next
BALLAST = b"x" * (100 * 2**20)  # beside which what Python itself takes and gives back is little

kept: list[object] = []


def leak_memory(data: bytes) -> bytes:
    kept.append(b"x" * (4 * 2**20 + len(kept)))
    return data


def leak_handle(data: bytes) -> bytes:
    kept.append(os.open(os.devnull, os.O_RDONLY))
    return data


def leak_thread(data: bytes) -> bytes:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return data


def leak_file(data: bytes) -> bytes:
    handle, _ = tempfile.mkstemp()
    os.close(handle)
    return data


def spoil_status(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1 200", b"HTTP/1.1 500")


def spoil_labels(data: bytes) -> bytes:
    for digit in b"012345678":
        data = data.replace(b'"label":"%c"' % digit, b'"label":"9"')
    return data


def refuse(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1 200", b"HTTP/1.1 503")


def put_off(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1 200", b"HTTP/1.1 429")


def ask_beside(data: bytes) -> bytes:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/models").close()
    return data


def drop(_: bytes) -> bytes:
    raise ConnectionAbortedError


FAULTS = {
    "memory": leak_memory,
    "handles": leak_handle,
    "threads": leak_thread,
    "files": leak_file,
    "500": spoil_status,
    "labels": spoil_labels,
    "dropped": drop,
    "503": refuse,
    "429": put_off,
    "uncounted": ask_beside,
}
LASTING = {refuse}


def now_and_then(faults: Sequence[Callable[[bytes], bytes]]) -> Callable[[bytes], bytes]:
    count, in_turn = 0, itertools.cycle(faults)

    def change(data: bytes) -> bytes:
        nonlocal count
        count += 1
        is_due = count % EVERY == 0 or LASTING.issuperset(faults)
        return next(in_turn)(data) if faults and count > HEALTHY and is_due else data

    return change


def forward(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):
        while data := source.recv(2**20):
            target.sendall(change(data))
    for end in (source, target):  # whichever side is done, the other is to hear of it
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def handle(client: socket.socket, port: int, change: Callable[[bytes], bytes]) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as service:
        back = threading.Thread(target=forward, args=(service, client, change))
        back.start()
        forward(client, service, lambda data: data)
        back.join()


def main() -> None:
    change, port = now_and_then([FAULTS[name] for name in sys.argv[2:]]), int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=handle, args=(client, port, change), daemon=True).start()


if __name__ == "__main__":
    main()
