"""`python -m serving.client`: send images to the service from the command line, no curl needed.

Exit status: 0 all is well, 3 drift, 2 an error or an image that could not be used, 130 interrupted, 141
nobody reads the output any more.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from cli.tables import classify_table, show_drift
from cli.terminal import DEFAULT, ERROR, OK, CommandError, Terminal, exit_status_of
from cli.transport import transport_to
from serving import __version__
from vision.images.folders import NoImagesError, image_files

DEFAULT_URL = "http://localhost:3000"
FILES_PER_REQUEST = 100


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_status_of(lambda: run(parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    headers = authorization(options.key)
    try:
        transport = transport_to(options.url)
        with httpx.Client(
            base_url=options.url, timeout=options.timeout, headers=headers, transport=transport
        ) as client:
            status: int = options.run(client, options)
            return status
    except (NoImagesError, httpx.InvalidURL) as error:
        raise CommandError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m serving.client", description=__doc__)
    top.add_argument("--version", action="version", version=f"driftbento {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    common.add_argument(
        "--url",
        default=os.environ.get("DRIFTBENTO_URL", DEFAULT_URL),
        help="of the service (default: $DRIFTBENTO_URL, else %(default)s)",
    )
    common.add_argument(
        "--key",
        default=os.environ.get("DRIFTBENTO_KEY"),
        help="that the service asks for (default: $DRIFTBENTO_KEY, which other users of this machine cannot "
        "see as they can a command)",
    )
    common.add_argument("--timeout", type=float, default=120, help=f"seconds {DEFAULT}")
    common.add_argument("--model", default="mnist", help=DEFAULT)
    common.add_argument("--json", action="store_true", help="print the answer as the service gave it")

    classify = commands.add_parser("classify", parents=[common], help="say what is in each image")
    classify.add_argument("--top-k", type=int, default=1, help=f"classes for each image {DEFAULT}")
    classify.set_defaults(run=run_classify)

    drift = commands.add_parser("drift", parents=[common], help="say whether the images have drifted")
    drift.add_argument("--alpha", type=float, default=0.05, help=f"significance level {DEFAULT}")
    drift.add_argument("--n-permutations", type=int, help="(default: all that the reference holds)")
    drift.add_argument("--detector", default="mmd", help=f"mmd, ks or label_shift {DEFAULT}")
    drift.add_argument(
        "--kernel",
        default="aggregate",
        help=f"of the MMD: aggregate, gaussian, exponential or rational_quadratic {DEFAULT}",
    )
    drift.set_defaults(run=run_drift)
    return top


def authorization(key: str | None) -> dict[str, str]:
    """Return the header with a key, if there is one."""
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise CommandError("The key has characters that no key has. Look for what was copied with it.")
    return {"Authorization": f"Bearer {key}"}


def run_classify(client: httpx.Client, options: argparse.Namespace) -> int:
    files = image_files(options.paths)
    fields = {"model": options.model, "top_k": str(options.top_k)}
    results, known = list[dict[str, Any]](), {"model": "", "trained": None}
    with tqdm(total=len(files), unit="image", disable=None, leave=False) as progress:
        for start in range(0, len(files), FILES_PER_REQUEST):
            chunk = files[start : start + FILES_PER_REQUEST]
            answer = post(client, "/classify", chunk, fields)
            # Where no image of a request can be used, the answer is a problem document that lists theirs.
            found = answer.get("results") or answer.get("image_errors")
            if found is None:
                raise CommandError(answer["detail"])
            known = {name: answer.get(name, known[name]) for name in known}
            results += [result | {"index": start + result["index"]} for result in found]
            progress.update(len(chunk))
    if options.json:
        print(json.dumps(known | {"results": results}, indent=2))
    else:
        Terminal().print(classify_table(known, results))
    return ERROR if any("error" in result for result in results) else OK


def run_drift(client: httpx.Client, options: argparse.Namespace) -> int:
    names = ("model", "alpha", "detector", "kernel", "n_permutations")
    fields = {name: str(getattr(options, name)) for name in names if getattr(options, name) is not None}
    answer = post(client, "/drift", image_files(options.paths), fields)
    if "p_value" not in answer:
        raise CommandError(answer["detail"])
    return show_drift(answer, as_json=options.json)


def post(
    client: httpx.Client, path: str, files: Sequence[tuple[str, Path]], fields: dict[str, str]
) -> dict[str, Any]:
    """Send files and fields to an endpoint, and return its answer or its problem document."""
    try:
        parts = [("images", (name, file.read_bytes())) for name, file in files]
        response = client.post(path, data=fields, files=parts)
        answer = response.json()
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise CommandError(
                f"{client.base_url} is not trusted ({error}). Name the certificate of its authority in "
                "SSL_CERT_FILE."
            ) from None
        raise CommandError(
            f"No service answers at {client.base_url} ({error}). Start it with ./scripts/serve, or name one "
            "with --url."
        ) from None
    except (httpx.HTTPError, ValueError) as error:
        raise CommandError(f"{client.base_url} gave no answer that makes sense: {error}") from None
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise CommandError(
            f"{client.base_url} wants another key. Give it with --key, or better in $DRIFTBENTO_KEY."
        )
    if not isinstance(answer, dict) or not {"model", "detail"} & answer.keys():
        raise CommandError(f"What answers at {client.base_url} is another service.")
    return answer


if __name__ == "__main__":
    sys.exit(main())
