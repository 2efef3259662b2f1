"""The service's own counts of its answers, compared with the answers that its clients got."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from bench.malformed.kinds import request
from bench.questions import UnfitServiceError
from bench.soak.clients import MALFORMED, Visit
from bench.wire import Wire

UNCOUNTED = "/metrics"  # BentoML does not count requests of this endpoint
TWICE = f"{MALFORMED}messages"  # such a request may be answered, and what follows it refused


@dataclass(frozen=True)
class Counts:
    """Numbers of answers that a service has counted.

    Attributes:
        good: Answers with status 200, by endpoint.
        problems: Problem documents, also those that answer what is not HTTP.
    """

    good: dict[str, int]
    problems: int

    @classmethod
    def of(cls, wire: Wire) -> "Counts":
        """Return what all workers of a service have counted since it was started.

        Raises:
            NoAnswerError: There is no answer.
            UnfitServiceError: The answer has another status than 200.
        """
        answer = wire.ask(request("GET", "/metrics"))
        wire.close()
        if answer.status != 200:
            raise UnfitServiceError(f"The service answers {answer.status} to metrics.")
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        good = dict[str, int]()
        for sample in samples(families.get("bentoml_service_request")):
            if sample.labels["http_response_code"] == "200":
                endpoint = sample.labels["endpoint"]
                good[endpoint] = good.get(endpoint, 0) + int(sample.value)
        refused = samples(families.get("driftbento_requests_refused"))
        return cls(good, sum(int(sample.value) for sample in refused))

    def since(self, before: "Counts") -> "Counts":
        """Return the differences to earlier counts."""
        good = {endpoint: count - before.good.get(endpoint, 0) for endpoint, count in self.good.items()}
        return Counts(good, self.problems - before.problems)


def samples(family: Metric | None) -> list:
    """Return the samples of a counter, none if there is no such counter."""
    found = family.samples if family is not None else []
    return [sample for sample in found if sample.name.endswith("_total")]


def unaccounted(visits: Sequence[Visit], counted: Counts) -> list[str]:
    """Return in words which counts of a service do not agree with the answers that its clients got.

    A good answer may be missing for each client that left after its request was sent completely, a problem
    document also for each client that left earlier.
    """
    found = []
    for endpoint in sorted({visit.endpoint for visit in visits} - {"", UNCOUNTED}):
        asked = [visit.outcome for visit in visits if visit.endpoint == endpoint]
        due = asked.count("200")
        unseen = sum(not outcome.isdigit() for outcome in asked)
        found += outside(counted.good.get(endpoint, 0), due, unseen, f"answers with a 200 of {endpoint}")
    problems = sum(visit.outcome >= "400" for visit in answered(visits))
    unseen = len(visits) - len(answered(visits)) + sum(visit.kind == TWICE for visit in visits)
    return found + outside(counted.problems, problems, unseen, "problem documents")


def answered(visits: Iterable[Visit]) -> list[Visit]:
    """Return the visits that got an answer."""
    return [visit for visit in visits if visit.outcome.isdigit()]


def outside(counted: int, got: int, unseen: int, what: str) -> list[str]:
    """Return a complaint unless the count is that of answers that arrived, and of some that may be lost."""
    if got <= counted <= got + unseen:
        return []
    return [f"{counted:,} {what} were counted, and {got:,} arrived; of others, {unseen:,} may have been lost"]
