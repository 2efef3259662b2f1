"""The way of a request with images: admitted, read, queued, and answered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic

from pydantic import BaseModel
from starlette.requests import Request

from serving.errors import MalformedRequestError
from serving.problems import enough_memory
from serving.requests.admission import MemoryBudget, Queue
from serving.requests.cancellation import Work, while_connected
from serving.requests.fields import FormType
from serving.requests.multipart import Submission, read_submission
from serving.settings import Settings
from vision.errors import MAX_ECHO


@dataclass(eq=False)
class RequestPipeline(Generic[FormType]):
    """Takes the requests to one endpoint from admission to answer."""

    path: str
    form_type: type[FormType]  # the fields that may stand beside the files
    answer: Callable[[Submission[FormType], Work], Awaitable[BaseModel]]
    budget: MemoryBudget  # for the requests to all endpoints
    limits: Settings

    def __post_init__(self) -> None:
        self.queue = Queue(self.path, self.limits.max_queue)

    async def __call__(self, request: Request) -> BaseModel:
        """Return the answer to a request.

        Raises:
            Problem: The request is not admitted, or cannot be answered.
            ClientDisconnect: The client has left.
        """
        check_query(request)
        self.queue.check()  # before the body is sent for nothing
        with enough_memory(), self.budget.for_request() as held:
            submission = await read_submission(
                request,
                self.form_type,
                max_images=self.limits.max_images,
                pause_seconds=self.limits.read_timeout_seconds,
                held=held,
            )
            try:
                with self.queue.place():
                    async with while_connected(request) as work:
                        return await self.answer(submission, work)
            finally:  # abandoned work that still waits for its thread must not hold the files until then
                submission.uploads.clear()


def check_query(request: Request) -> None:
    """Refuse a request with a query string, since nothing reads one.

    Raises:
        MalformedRequestError: It has a query string.
    """
    if query := request.url.query:
        name = query.partition("=")[0][:MAX_ECHO]
        raise MalformedRequestError(
            f"The query string holds {name!r}, which nothing reads. Leave it out: fields are sent in the "
            "form, beside the images."
        )
