"""Clients as a service in the open has them: good ones, mistaken ones, slow ones, and those that leave."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.malformed import KINDS, Kind
from bench.questions import BUSY, Question
from bench.wire import Answer, NoAnswerError, Wire

BROKEN_OFF, LOST = "broken off", "lost"
MALFORMED = "malformed: "  # and the family, in the name of what is
GOOD_SHARE, LEAVING_SHARE = 0.5, 0.1  # of what the quick clients send; the rest is malformed
WHOLE_SHARE = 0.2  # of the requests whose clients leave
PIECES, SLOW_SECONDS = 10, 1.0  # in which a slow client sends a request
HELD_SECONDS = 1.0  # by a client that opens a connection and says next to nothing


@dataclass(frozen=True)
class Visit:
    """What became of a request.

    Attributes:
        kind: What was sent.
        outcome: The status of the answer, or that it was broken off by the client, or lost.
        seconds: How long the answer took.
        complaint: What is wrong with it, if anything.
        endpoint: Where a whole and good request was sent; empty for any other.
    """

    kind: str
    outcome: str
    seconds: float
    complaint: str = ""
    endpoint: str = ""


class Client:
    """Somebody who sends one request after the other, drawn from a seed."""

    def __init__(self, address: tuple[str, int], questions: Sequence[Question], seed: int) -> None:
        self.wire = Wire(*address)
        self.questions = questions
        self.generator = random.Random(seed)
        self.quick = [kind for kind in KINDS if not kind.is_slow]
        self.slow = [kind for kind in KINDS if kind.is_slow]

    def visit_with_everything(self) -> list[Visit]:
        """Send one request of each kind that is quickly answered.

        Metrics come first, since for them alone the service has as many threads as are asking at a time.
        """
        asked = [self.ask(question) for question in reversed(self.questions)]
        mistaken = [self.mistaken(kind) for kind in self.quick]
        self.wire.close()
        return asked + mistaken

    def ask(self, question: Question) -> Visit:
        """Send something whose answer is known."""
        return self.answered(
            question.name, question.complaint, lambda: self.wire.ask(question.sent), question.endpoint
        )

    def ask_slowly(self) -> Visit:
        """Send something whose answer is known, in pieces with pauses between them."""
        question = self.generator.choice(self.questions)

        def send() -> Answer:
            size = len(question.sent) // PIECES + 1
            for start in range(0, len(question.sent), size):
                self.wire.send(question.sent[start : start + size])
                time.sleep(SLOW_SECONDS / PIECES)
            return self.wire.answer()

        return self.answered("slowly sent", question.complaint, send, question.endpoint)

    def err(self) -> Visit:
        """Send something malformed."""
        return self.mistaken(self.generator.choice(self.quick))

    def keep_waiting(self) -> Visit:
        """Send a request whose end never comes, and wait for what the service says to that."""
        return self.mistaken(self.generator.choice(self.slow))

    def mistaken(self, kind: Kind) -> Visit:
        def complaint(answer: Answer) -> str:
            return "" if answer.status == BUSY else kind.complaint(answer)

        sent = kind.make(self.generator)
        visit = self.answered(f"{MALFORMED}{kind.family}", complaint, lambda: self.wire.ask(sent))
        if kind.family == "messages":  # of which the end is where the service and the sender disagree
            self.wire.close()
        return visit

    def leave(self) -> Visit:
        """Send all or a part of a request, and go without waiting for the answer."""
        question = self.generator.choice(self.questions)
        whole = len(question.sent)
        length = whole if self.generator.random() < WHOLE_SHARE else self.generator.randrange(1, whole)
        self.begin(question.sent[:length])
        return self.broken_off("left midway", question.endpoint if length == whole else "")

    def hold(self) -> Visit:
        """Open a connection, send a few bytes or none, and leave it so for a while."""
        self.begin(self.generator.choice([b"", b"GET", b"POST /classify HTTP/1.1\r\nHost: x\r\n"]))
        time.sleep(HELD_SECONDS)
        return self.broken_off("half-open")

    def begin(self, sent: bytes) -> None:
        self.wire.close()
        self.wire.send(sent)

    def broken_off(self, kind: str, endpoint: str = "") -> Visit:
        self.wire.close()
        return Visit(kind, BROKEN_OFF, 0, endpoint=endpoint)

    def answered(
        self,
        kind: str,
        complaint: Callable[[Answer], str],
        send: Callable[[], Answer],
        endpoint: str = "",
    ) -> Visit:
        began = time.perf_counter()
        try:
            answer = send()
        except NoAnswerError as error:
            return Visit(kind, LOST, time.perf_counter() - began, f"{kind}: lost, {error}", endpoint)
        seconds = time.perf_counter() - began
        return Visit(kind, str(answer.status), seconds, complaint(answer), endpoint)

    def visit_quickly(self) -> Visit:
        draw = self.generator.random()
        if draw < GOOD_SHARE:
            return self.ask(self.generator.choice(self.questions))
        return self.leave() if draw < GOOD_SHARE + LEAVING_SHARE else self.err()

    def visit_slowly(self) -> Visit:
        return self.generator.choice([self.ask_slowly, self.keep_waiting, self.hold])()
