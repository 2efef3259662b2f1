"""Clients like those of a public service: good ones, mistaken ones, slow ones, and ones that leave."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.malformed import KINDS, Kind
from bench.questions import BUSY, Question
from bench.wire import Answer, NoAnswerError, Wire

BROKEN_OFF, LOST = "broken off", "lost"
MALFORMED = "malformed: "  # followed by the family, the kind of a malformed request
GOOD_SHARE, LEAVING_SHARE = 0.5, 0.1  # of the requests of quick clients; the others are malformed
WHOLE_SHARE = 0.2  # of the requests whose clients leave: those that were sent completely
PIECES, SLOW_SECONDS = 10, 1.0  # number of pieces, and time, of a request that is sent slowly
HELD_SECONDS = 1.0  # for which a client keeps a connection open on which it sends next to nothing


@dataclass(frozen=True)
class Visit:
    """A request and its outcome.

    Attributes:
        kind: What was sent.
        outcome: The status of the answer, BROKEN_OFF if the client left, or LOST if there was no answer.
        seconds: Time of the answer.
        complaint: What is wrong with the answer; empty if nothing is.
        endpoint: The path of a good request that was sent completely; empty for any other.
    """

    kind: str
    outcome: str
    seconds: float
    complaint: str = ""
    endpoint: str = ""


class Client:
    """A client that sends random requests, one after the other."""

    def __init__(self, address: tuple[str, int], questions: Sequence[Question], seed: int) -> None:
        self.wire = Wire(*address)
        self.questions = questions
        self.generator = random.Random(seed)
        self.quick = [kind for kind in KINDS if not kind.is_slow]
        self.slow = [kind for kind in KINDS if kind.is_slow]

    def visit_with_everything(self) -> list[Visit]:
        """Send one request of each kind that is answered quickly.

        Metrics come first, since only for them does the service start a thread for each request at a time.
        """
        asked = [self.ask(question) for question in reversed(self.questions)]
        mistaken = [self.mistaken(kind) for kind in self.quick]
        self.wire.close()
        return asked + mistaken

    def ask(self, question: Question) -> Visit:
        """Send a request with a known answer."""
        return self.answered(
            question.name, question.complaint, lambda: self.wire.ask(question.sent), question.endpoint
        )

    def ask_slowly(self) -> Visit:
        """Send a request with a known answer, in pieces with pauses between them."""
        question = self.generator.choice(self.questions)

        def send() -> Answer:
            size = len(question.sent) // PIECES + 1
            for start in range(0, len(question.sent), size):
                self.wire.send(question.sent[start : start + size])
                time.sleep(SLOW_SECONDS / PIECES)
            return self.wire.answer()

        return self.answered("slowly sent", question.complaint, send, question.endpoint)

    def err(self) -> Visit:
        """Send a malformed request."""
        return self.mistaken(self.generator.choice(self.quick))

    def keep_waiting(self) -> Visit:
        """Send a request whose end never comes, and wait for the answer to that."""
        return self.mistaken(self.generator.choice(self.slow))

    def mistaken(self, kind: Kind) -> Visit:
        """Send a malformed request of a kind."""

        def complaint(answer: Answer) -> str:
            return "" if answer.status == BUSY else kind.complaint(answer)

        sent = kind.make(self.generator)
        visit = self.answered(f"{MALFORMED}{kind.family}", complaint, lambda: self.wire.ask(sent))
        if kind.family == "messages":  # the service may see its end elsewhere, and answer the rest
            self.wire.close()
        return visit

    def leave(self) -> Visit:
        """Send all or a part of a request, and leave without waiting for the answer."""
        question = self.generator.choice(self.questions)
        whole = len(question.sent)
        length = whole if self.generator.random() < WHOLE_SHARE else self.generator.randrange(1, whole)
        self.begin(question.sent[:length])
        return self.broken_off("left midway", question.endpoint if length == whole else "")

    def hold(self) -> Visit:
        """Open a connection, send a few bytes or none, and keep it open for a while."""
        self.begin(self.generator.choice([b"", b"GET", b"POST /classify HTTP/1.1\r\nHost: x\r\n"]))
        time.sleep(HELD_SECONDS)
        return self.broken_off("half-open")

    def begin(self, sent: bytes) -> None:
        """Send bytes on a new connection."""
        self.wire.close()
        self.wire.send(sent)

    def broken_off(self, kind: str, endpoint: str = "") -> Visit:
        """Close the connection, and return the visit that ends so."""
        self.wire.close()
        return Visit(kind, BROKEN_OFF, 0, endpoint=endpoint)

    def answered(
        self,
        kind: str,
        complaint: Callable[[Answer], str],
        send: Callable[[], Answer],
        endpoint: str = "",
    ) -> Visit:
        """Return the visit in which `send` sends a request and returns its answer."""
        began = time.perf_counter()
        try:
            answer = send()
        except NoAnswerError as error:
            return Visit(kind, LOST, time.perf_counter() - began, f"{kind}: lost, {error}", endpoint)
        seconds = time.perf_counter() - began
        return Visit(kind, str(answer.status), seconds, complaint(answer), endpoint)

    def visit_quickly(self) -> Visit:
        """Send a random request that takes no time by itself."""
        draw = self.generator.random()
        if draw < GOOD_SHARE:
            return self.ask(self.generator.choice(self.questions))
        return self.leave() if draw < GOOD_SHARE + LEAVING_SHARE else self.err()

    def visit_slowly(self) -> Visit:
        """Send a random request that takes its time."""
        return self.generator.choice([self.ask_slowly, self.keep_waiting, self.hold])()
