"""The recipe of the container image: what BentoML's template is to do, and what it is to leave out.

No distribution of BentoML's list is taken, which would install a compiler and git, and no lock is made, since
requirements.txt is one. TORCH_BACKEND, a build argument, says which of PyTorch's builds uv installs.
"""

import shutil
from pathlib import Path
from typing import Any

from bentoml.exceptions import BentoMLException
from bentoml.images import Image

from bento import store
from serving.registry import TRAINING_COMMANDS

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "deploy" / "image"
USE_TORCH_BACKEND = r"""[ -z "$TORCH_BACKEND" ] || { mkdir -p /etc/uv && \
    printf '[pip]\ntorch-backend = "%s"\n' "$TORCH_BACKEND" >/etc/uv/uv.toml; }"""
USE_RECIPES_UV = "install -m 755 env/docker/uv /usr/local/bin/uv"
# BentoML's template has no place for these instructions, so they follow a command. Any user may look into the
# home, and what BentoML writes when it starts goes where any user may write, be the rest read-only or not.
# The day on which the user was made is not kept: the same commit makes the same image on any day.
FOR_ANY_USER = """chmod 755 /home/bentoml && sed -i 's/^\\(bentoml:[^:]*\\):[0-9]*:/\\1:1:/' /etc/shadow
ENV BENTOML_HOME=/tmp/bentoml
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["python", "env/docker/healthcheck.py"]"""
# scripts/image builds this stage instead of the end of BentoML's template. Models come before code, since a
# registry is sent all layers from a change on. Kubernetes sees only of a number that the user is not root.
LAYERED = """
FROM base-container AS driftbento
COPY --chown=bentoml:bentoml models ./models/
COPY --chown=bentoml:bentoml src ./src/
COPY --chown=bentoml:bentoml apis ./apis/
COPY --chown=bentoml:bentoml README.md bento.yaml ./
EXPOSE 3000
USER 1034
ENTRYPOINT ["bash", "/home/bentoml/bento/env/docker/entrypoint.sh"]
FROM base-container"""


class SlimImage(Image):  # type: ignore[misc] # BentoML is not typed
    """A recipe that refuses a bento without a model: its container would never be ready."""

    def freeze(self, bento_fs: Path, *arguments: Any, **options: Any) -> Any:
        if not store.newest()[0]:
            commands = " or ".join(f"`{command}`" for command in TRAINING_COMMANDS.values())
            raise BentoMLException(
                f"The model store holds no model to put into the bento. Run {commands} first."
            )
        frozen = super().freeze(bento_fs, *arguments, **options)
        docker = bento_fs / "env" / "docker"
        (docker / "entrypoint.sh").rename(docker / "bentoml.sh")  # the recipe's own entrypoint.sh calls it
        shutil.copytree(RECIPE, docker, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        for path in bento_fs.rglob("*"):  # a checkout may keep its files for its owner alone
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        return frozen


def image() -> SlimImage:
    """Return the recipe of the image that the service goes into."""
    return SlimImage(
        base_image="python:3.11-slim-bookworm",
        distro="none",
        commands=[USE_TORCH_BACKEND, USE_RECIPES_UV],
        post_commands=[FOR_ANY_USER + LAYERED],
        lock_python_packages=False,
        python_requirements=(ROOT / "requirements.txt").read_text(),
    )
