"""deploy/compose: containers that may do little, and alerts and a dashboard that ask for what there is."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
SECURITY = " ".join((FOLDER.parent.parent / "SECURITY.md").read_text().split())
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
CONFIG = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
ALERTS = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
(DASHBOARD_FILE,) = FOLDER.glob("grafana/dashboards/*.json")
PANELS = json.loads(DASHBOARD_FILE.read_text())["panels"]
INTERVAL = "$__rate_interval"  # which Grafana replaces by four times the interval of the scrapes
TARGETS = [
    pytest.param(target["expr"].replace(INTERVAL, "1m"), id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
QUERIES = [*TARGETS, *(pytest.param(rule["expr"], id=rule["alert"]) for rule in ALERTS)]
PROMETHEUS_OWN = {"up": {"job", "instance"}}
ADDED_BY_SCRAPING = {"job", "instance"}
READY_WITHIN_SECONDS = 60


@pytest.fixture(scope="module")
def asked(store, serve, as_files, held_out) -> Iterator[httpx.Client]:
    """A client of the service, which has been asked everything and refused something."""
    with serve(store) as client:
        ask(client, as_files(held_out.images[:32]))
        yield client


def ask(client: httpx.Client, digits: list) -> None:
    client.post("/classify", files=[*digits, ("images", ("x.png", b"?", "image/png"))])
    client.post("/classify", files={"images": ("x.png", b"?", "image/png")})
    client.post("/drift", files=digits)


@pytest.fixture(scope="module")
def labels_of(asked) -> dict[str, set[str]]:
    """The labels of every metric that the service has."""
    labels = dict[str, set[str]]()
    for family in text_string_to_metric_families(asked.get("/metrics").text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_no_more_than_it_must(name):
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & service.keys()


def test_the_service_is_the_image_that_is_built_here_and_writes_to_memory_alone():
    service = SERVICES["driftbento"]

    assert (service["image"], service["pull_policy"]) == ("driftbento", "never")
    assert service["mem_limit"] == service["memswap_limit"]
    assert [entry.partition(":")[0] for entry in service["tmpfs"]] == ["/tmp"]
    assert "volumes" not in service


def test_the_memory_of_the_service_is_more_than_it_takes_at_most():
    """All that SECURITY.md says of one worker, with a model of photographs, and what lies in /tmp."""
    settings, service = Settings(), SERVICES["driftbento"]
    starter = 100_000_000  # bytes that the process that starts the worker takes

    def promised(words: str) -> int:
        return int(re.search(words, SECURITY).group(1))

    most = (
        starter
        + promised(r"at rest \(some (\d+) MB in the image") * 1_000_000
        + settings.max_held_bytes
        + promised(r"`MAX_HELD_BYTES` and (\d+) MB") * 1_000_000
        + promised(r"(\d+) bytes for each of `MAX_PIXELS`") * settings.max_pixels
        + promised(r"(\d+) KiB for each open connection") * 1024 * settings.max_connections
        + promised(r"(\d+) kB for each of `MAX_IMAGES`") * 1000 * settings.max_images
        + bytes_of(service["tmpfs"][0].partition("size=")[2])
    )
    assert bytes_of(service["mem_limit"]) > most


def bytes_of(size: str) -> int:
    """Return what a size of compose's is in bytes."""
    return int(size[:-1]) * {"m": 2**20, "g": 2**30}[size[-1]]


def test_a_container_that_ends_has_the_time_that_the_service_takes_for_it():
    grace = promql_parser.parse_duration(SERVICES["driftbento"]["stop_grace_period"])

    assert grace.total_seconds() > Settings.model_fields["grace_seconds"].default + 3


def test_the_health_check_is_that_of_the_image():
    check = SERVICES["driftbento"]["healthcheck"]

    assert "test" not in check
    assert {"start_interval", "start_period"} <= check.keys()  # compose refuses the first without the second


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "driftbento"])
def test_an_image_of_others_is_pinned_by_its_version(name):
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_every_file_that_a_container_is_given_is_there_and_read_only():
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount.split(":") for mount in mounts if mount.startswith("./")]

    assert len(files) == 5
    assert all((FOLDER / source).exists() and mode == "ro" for source, _, mode in files)


def test_nobody_can_log_in_to_grafana():
    environment = SERVICES["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


def test_prometheus_asks_the_service_and_grafana_asks_prometheus():
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana/providers/driftbento.yml").read_text())["providers"]
    (job,) = CONFIG["scrape_configs"]

    assert job["static_configs"] == [{"targets": ["driftbento:3000"]}]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
    assert all(panel["datasource"]["uid"] == source["uid"] for panel in PANELS)
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in SERVICES["grafana"]["volumes"])


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query, labels_of):
    selectors = selectors_of(query)

    known = labels_of | PROMETHEUS_OWN
    assert {selector.name for selector in selectors} <= known.keys()
    for selector in selectors:
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= known[selector.name] | ADDED_BY_SCRAPING
    all_labels = set().union(*(known[selector.name] for selector in selectors)) | ADDED_BY_SCRAPING
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    assert {label.strip() for labels in grouped for label in labels.split(",")} <= all_labels


def selectors_of(query: str) -> list[promql_parser.VectorSelector]:
    """Return where a query, which has to be one, names metrics."""
    nodes = list[promql_parser.Expr]()
    promql_parser.walk(promql_parser.parse(query), nodes.append)
    found = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert found
    return found


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_is_so_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"].split(". ")) >= 2
    assert promql_parser.parse_duration(rule["for"]).total_seconds() >= 60


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_what_unit_and_from_where(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["type"] == "prometheus"
    assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_lie_on_top_of_each_other():
    taken = [
        (panel["gridPos"]["x"] + across, panel["gridPos"]["y"] + down)
        for panel in PANELS
        for across in range(panel["gridPos"]["w"])
        for down in range(panel["gridPos"]["h"])
    ]

    assert len(taken) == len(set(taken))
    assert max(across for across, _ in taken) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool, which comes with Prometheus")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "--lint-fatal", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ],
    ids=["its configuration", "the alerts", "when they fire"],
)
def test_prometheus_itself_accepts(arguments):
    checked = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_tried_out():
    cases = (FOLDER / "alerts.test.yml").read_text()

    assert [rule["alert"] for rule in ALERTS if f'"{rule["alert"]}"' not in cases] == []


@pytest.fixture(scope="module")
def query(asked, as_files, held_out, tmp_path_factory, port) -> Iterator[Callable[[str], list]]:
    """Return a function that asks a Prometheus that watches the service, as it does here but more often."""
    if not shutil.which("prometheus"):
        pytest.skip("needs Prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(FOLDER / "alerts.yml", folder)
    (job,) = CONFIG["scrape_configs"]
    targets = {"static_configs": [{"targets": [f"{asked.base_url.host}:{asked.base_url.port}"]}]}
    often = CONFIG | {"global": {"scrape_interval": "1s"}, "scrape_configs": [job | targets]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(often))
    options = ["--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

            def ask_prometheus(query: str) -> list:
                try:
                    return client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
                except (httpx.TransportError, ValueError):  # not ready yet
                    return []

            deadline = time.monotonic() + READY_WITHIN_SECONDS
            seen_twice = 'count_over_time(up{job="driftbento"}[1m]) >= 2'
            for condition in (seen_twice, "rate(driftbento_drift_tests_total[1m]) > 0"):
                while not ask_prometheus(condition):
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    ask(asked, as_files(held_out.images[:32]))
            yield ask_prometheus
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_has_numbers_to_show_of_a_service_that_is_asked(query, target):
    numbers = [float(series["value"][1]) for series in query(target)]

    assert numbers
    assert all(number == number for number in numbers), "not NaN"  # noqa: PLR0124 - NaN is not itself
