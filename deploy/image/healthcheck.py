"""Says to the container engine whether the service answers: exit status 0 when it is ready."""

import os
import sys
from http.client import HTTPConnection, HTTPException

connection = HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 3000), timeout=5)
try:
    connection.request("GET", "/readyz")
    sys.exit(connection.getresponse().status != 200)
except (OSError, HTTPException) as error:
    sys.exit(f"not answering: {error}")
