"""The memory that answers take while their clients have not read them."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.requests.admission import MemoryBudget

FREE_ANSWER_BYTES = 2**16  # uvicorn buffers this much for a client anyway


class ResponseMemory:
    """Count the bytes of each long answer until its client has read nearly all of it."""

    def __init__(self, app: ASGIApp, budget: MemoryBudget) -> None:
        self.app = app
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            size = len(message.get("body", b""))
            if size <= FREE_ANSWER_BYTES:
                return await send(message)
            with self.budget.with_answer(size):
                await send({**message, "more_body": True})
                # The server takes the end only when the client has read nearly all that came before it.
                await send({**message, "body": b""})
            return None

        await self.app(scope, receive, send_counted)
