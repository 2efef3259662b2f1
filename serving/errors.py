"""What can be wrong with a request.

Problem (vision/errors.py)
├── MalformedRequestError       not multipart, an unknown field, a value out of range
├── UnauthorizedError           no key, or one that is not known
├── UnknownModelError           no such model
├── SlowClientError             headers or a body that do not come
├── NoDriftReferenceError       the model has nothing to measure drift against
├── UntestableBatchError        too few images, features that are not finite
├── OverloadedError             more requests at a time than the service takes
├── HeadersTooLargeError        more, or longer, headers than the service reads
├── OutOfMemoryError            a request for which there is not enough memory at the moment
├── StoppingError               a request that is not done when the service stops
└── TooSlowError                a request that takes longer than it may

Which status each becomes stands in serving/problems.py.
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
