"""How a request comes in: read where there is room for it, given a place in the queue, and answered."""

from collections.abc import Awaitable, Callable
from typing import Generic

from pydantic import BaseModel
from starlette.requests import Request

from serving.errors import MalformedRequestError
from serving.problems import enough_memory
from serving.requests.admission import Queue, Room
from serving.requests.cancellation import Work, while_connected
from serving.requests.fields import FormType
from serving.requests.multipart import Submission, read_submission
from serving.settings import Settings
from vision.errors import MAX_ECHO


class Intake(Generic[FormType]):
    """Takes in the requests of one endpoint."""

    def __init__(
        self,
        path: str,
        form_type: type[FormType],
        answer: Callable[[Submission[FormType], Work], Awaitable[BaseModel]],
        *,
        room: Room,
        limits: Settings,
    ) -> None:
        """Set up an endpoint.

        Args:
            path: Its path.
            form_type: The fields that may stand beside the files.
            answer: Answers a request that is there.
            room: For what clients send, to this endpoint and the others.
            limits: How many requests, of how many files, and how slow.
        """
        self.form_type = form_type
        self.answer = answer
        self.room = room
        self.limits = limits
        self.queue = Queue(path, limits.max_queue)

    async def __call__(self, request: Request) -> BaseModel:
        """Return the answer to a request.

        Raises:
            Problem: It is not let in, or cannot be answered.
            ClientDisconnect: The client has left.
        """
        check_query(request)
        self.queue.check()  # before anything is read that would have been sent for nothing
        with enough_memory(), self.room.for_request() as held:
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
            finally:  # or work that is abandoned while it waits for its turn would hold them until then
                submission.uploads.clear()


def check_query(request: Request) -> None:
    """Refuse a request that says something where nobody reads it.

    Raises:
        MalformedRequestError: It has a query string.
    """
    if query := request.url.query:
        name = query.partition("=")[0][:MAX_ECHO]
        raise MalformedRequestError(
            f"The query string holds {name!r}, which nothing reads. Leave it out: fields are sent in the "
            "form, beside the images."
        )
