"""Says to the container engine whether the service answers: exit status 0 when it is ready."""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

port = os.environ.get("PORT") or os.environ.get("BENTOML_PORT") or 3000
host = os.environ.get("BENTOML_HOST") or "127.0.0.1"  # of all addresses, 0.0.0.0 or ::, it connects to one
connection = HTTPConnection(host, int(port), timeout=5)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    if answer.status != HTTPStatus.OK:
        sys.exit(answer.read().decode())
except (OSError, HTTPException) as error:
    sys.exit(f"not answering: {error}")
