"""What a service says that it has answered, beside what its clients say that they were."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from bench.malformed.kinds import request
from bench.questions import UnfitServiceError
from bench.soak.clients import MALFORMED, Visit
from bench.wire import Wire

UNCOUNTED = "/metrics"  # the endpoint whose requests BentoML does not count
TWICE = f"{MALFORMED}messages"  # what may be answered, and then refused for what follows it


@dataclass(frozen=True)
class Counts:
    """What a service has counted since it was started.

    Attributes:
        good: Answers with a 200 of each endpoint.
        problems: Problem documents, those included that answer what is no HTTP.
    """

    good: dict[str, int]
    problems: int

    @classmethod
    def of(cls, wire: Wire) -> "Counts":
        """Return what a service has counted until now, in all its workers.

        Raises:
            NoAnswerError: There is no answer.
            UnfitServiceError: The answer is another.
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
        good = {endpoint: count - before.good.get(endpoint, 0) for endpoint, count in self.good.items()}
        return Counts(good, self.problems - before.problems)


def samples(family: Metric | None) -> list:
    found = family.samples if family is not None else []
    return [sample for sample in found if sample.name.endswith("_total")]


def unaccounted(visits: Sequence[Visit], counted: Counts) -> list[str]:
    """Say which answers the service has counted and nobody got, or the other way round.

    A good answer may be missing to somebody who left once all of the request was sent, a problem document
    also to whoever left before.
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
    return [visit for visit in visits if visit.outcome.isdigit()]


def outside(counted: int, got: int, unseen: int, what: str) -> list[str]:
    if got <= counted <= got + unseen:
        return []
    return [f"{counted:,} {what} were counted, and {got:,} arrived; of others, {unseen:,} may have been lost"]
