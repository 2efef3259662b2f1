"""The workflow on GitHub: it may do little, takes only what is pinned, and calls what there is."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
TRIGGERS = WORKFLOW[True]  # which is what YAML 1.1 makes of `on`
JOBS = WORKFLOW["jobs"]
RUNS = [
    pytest.param(step["run"], id=f"{name} {index}")
    for name, job in JOBS.items()
    for index, step in enumerate(job["steps"])
    if "run" in step
]


def uses(action: str) -> list[dict]:
    """Return the steps that use an action."""
    steps = [step for job in JOBS.values() for step in job["steps"]]
    return [step for step in steps if step.get("uses", "").startswith(f"{action}@")]


def test_nothing_may_write_but_the_job_that_pushes_and_that_only_packages():
    permissions = {name: job.get("permissions", WORKFLOW["permissions"]) for name, job in JOBS.items()}

    assert permissions.pop("push") == {"contents": "read", "packages": "write"}
    assert all(others == {"contents": "read"} for others in permissions.values())
    assert all(step["with"]["persist-credentials"] is False for step in uses("actions/checkout"))


def test_only_tags_of_versions_are_pushed_and_only_once_tests_and_image_are_well():
    push = JOBS["push"]

    assert push["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert set(push["needs"]) == {"test", "image"}
    assert TRIGGERS["push"]["tags"] == ["v*"]
    assert "pull_request" in TRIGGERS
    assert "pull_request_target" not in TRIGGERS  # in which the code of strangers has rights


def test_every_action_is_pinned_by_the_commit_of_a_release_that_is_named_beside_it():
    used = re.findall(r"uses: (.*)", TEXT)

    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)
    assert len({one.partition("@")[0] for one in used}) == len(set(used))  # each by one commit everywhere


def test_every_script_is_called_and_can_be():
    called = set(re.findall(r"\./scripts/(\w+)", TEXT))

    assert called == {"test", "audit", "image", "sbom", "push"}
    scripts = [ROOT / "scripts" / name for name in called]
    assert all(os.access(script, os.X_OK) for script in scripts)


@pytest.mark.parametrize(
    "commands",
    [
        [step.get("run", "") for step in JOBS["test"]["steps"]],
        (ROOT / ".ci" / "run").read_text().splitlines(),
    ],
    ids=["GitHub", ".ci/run"],
)
def test_no_test_is_left_out(commands):
    """What scripts/test leaves out runs after it."""
    default, thorough = (
        next(index for index, command in enumerate(commands) if command.startswith(start))
        for start in ("./scripts/test", "./scripts/test -m thorough")
    )

    assert commands[default] == "./scripts/test"
    assert default < thorough


def test_the_service_is_soaked_for_two_minutes_where_a_model_has_been_trained():
    commands = [step.get("run", "") for step in JOBS["image"]["steps"]]

    (soaked,) = (index for index, command in enumerate(commands) if "bench.soak" in command)
    assert commands[soaked].endswith("python -m bench.soak --seconds 120")
    assert any("python -m train mnist" in command for command in commands[:soaked])


def test_what_is_made_for_the_next_job_is_what_it_takes():
    made = {step["with"]["name"]: step["with"]["path"] for step in uses("actions/upload-artifact")}
    (taken,) = (step["with"]["name"] for step in uses("actions/download-artifact"))

    assert made == {"sbom": "sbom.json", "image": "image.tar"}
    assert f"docker load --input {made[taken]}" in TEXT


@pytest.mark.parametrize("commands", RUNS)
def test_a_step_is_a_script_that_a_shell_takes_and_that_nobody_can_add_to(commands):
    """What GitHub fills in before the shell reads it, such as a branch's name, could be commands."""
    read = subprocess.run(["bash", "-n", "-c", commands], capture_output=True, text=True, check=False)

    assert (read.returncode, read.stderr) == (0, "")
    assert "${{" not in commands


@pytest.mark.parametrize("name", JOBS)
def test_no_job_runs_on_for_hours(name):
    assert JOBS[name]["timeout-minutes"] <= 90
