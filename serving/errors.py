"""The errors of a request.

Problem (vision/errors.py)
├── MalformedRequestError       not multipart, an unknown field, a value out of range
├── UnauthorizedError           no key, or one that is not known
├── UnknownModelError           no such model
├── SlowClientError             headers or a body that do not arrive in time
├── NoDriftReferenceError       the model has nothing to measure drift against
├── UntestableBatchError        too few images, or features that are not finite
├── OverloadedError             more requests at a time than are admitted
├── HeadersTooLargeError        more or longer headers than are read
├── OutOfMemoryError            not enough memory for a request at the moment
├── StoppingError               the service stops before a request is answered
└── TooSlowError                a request over the time limit

The status of each is in serving/problems.py.
"""

from vision.errors import Problem


class MalformedRequestError(Problem):
    kind, title = "malformed-request", "The request is malformed"


class UnauthorizedError(Problem):
    kind, title = "unauthorized", "The request has no valid key"


class UnknownModelError(Problem):
    kind, title = "unknown-model", "There is no such model"


class SlowClientError(Problem):
    kind, title = "too-slow-client", "The client is too slow"


class NoDriftReferenceError(Problem):
    kind, title = "no-drift-reference", "The model has no drift reference"


class UntestableBatchError(Problem):
    kind, title = "untestable-batch", "No drift test can be made"


class OverloadedError(Problem):
    kind, title = "overloaded", "There are too many requests"


class HeadersTooLargeError(Problem):
    kind, title = "headers-too-large", "The headers are too large"


class OutOfMemoryError(Problem):
    kind, title = "out-of-memory", "There is not enough memory"

    def __init__(self) -> None:
        super().__init__(
            "The service has not enough memory for this request at the moment. Send it again later, or fewer "
            "or smaller images at a time."
        )


class StoppingError(Problem):
    kind, title = "stopping", "The service is stopping"

    def __init__(self) -> None:
        super().__init__("The service stopped before the request was answered. Send it again.")


class TooSlowError(Problem):
    kind, title = "too-slow", "The request took too long"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request was not answered within {seconds:g} seconds, the most it may take. Send fewer "
            "images at a time."
        )
