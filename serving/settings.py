"""The settings of the service. Each is read from the environment variable of its name in capitals."""

import hashlib
import os
import re
from functools import cache
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.logs import refuse_to_start
from vision.images.limits import ImageLimits

KEY_NAME = re.compile(r"[A-Za-z0-9_.-]+")
KEY = re.compile(r"[!-+\--~]{16,}")  # visible ASCII without the comma
ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]+)?")


class Settings(BaseSettings):
    """The service's limits and its use of the machine."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)  # the input may be a key

    workers: int = Field(1, ge=1, description="Number of worker processes.")
    torch_threads: int = Field(1, ge=1, description="Threads for one forward pass or drift test.")
    classify_threads: int | None = Field(
        None,
        ge=1,
        description="How many requests to a large model (the ResNet) a worker classifies at once; "
        "unset, one per core that it has.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of the weights: float32, bfloat16 (if the model supports it), or "
        "auto, the faster of the two.",
    )
    max_queue: int = Field(
        64,
        ge=1,
        description="Requests to each endpoint that a worker answers or lets wait; further ones get 429.",
    )
    max_connections: int = Field(
        2000, ge=1, description="Connections that a worker keeps open; further ones are closed at once."
    )
    timeout_seconds: float = Field(
        60, gt=0, description="How long a request may take before its work is stopped."
    )
    decode_seconds: float = Field(
        15, gt=0, description="How long a picture may take to decode before it is refused."
    )
    read_timeout_seconds: float = Field(
        10,
        gt=0,
        description="How long a client may take to send its headers, or pause while it sends a body.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="How long a connection stays open that waits for its next request. Let it be longer than "
        "the proxy in front waits, which would otherwise send a request as the connection closes.",
    )
    grace_seconds: int = Field(
        7, ge=1, description="How long requests in progress may take to finish when the service is stopped."
    )
    max_body_bytes: int = Field(
        ImageLimits.max_bytes,
        ge=1,
        description="Size of a request with all its files, and of what an archive unpacks to.",
    )
    max_images: int = Field(ImageLimits.max_images, ge=2, description="Images in one request.")
    max_held_bytes: int = Field(
        256 * 2**20, ge=1, description="Total size of the requests that a worker holds at a time."
    )
    max_pixels: int = Field(ImageLimits.max_pixels, ge=1, description="Width times height of an image.")
    max_side: int = Field(ImageLimits.max_side, ge=1, description="Width and height of an image, each.")
    max_archive_ratio: float = Field(
        ImageLimits.max_archive_ratio,
        ge=1,
        description="How many times its own size an archive may unpack to, if that is over 1 MiB.",
    )
    api_keys: SecretStr | None = Field(
        None, description="Who may use the service, as name=key,name2=key2; unset, everybody."
    )
    public_metrics: bool = Field(False, description="Whether /metrics can be read without a key.")
    cors_origins: str | None = Field(
        None,
        description="Origins whose web pages may use the service, separated by commas, or * for all; "
        "unset, none.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log format: text, or json with one object per line."
    )

    @property
    def image_limits(self) -> ImageLimits:
        """The limits on the images of a request."""
        return ImageLimits(
            max_images=self.max_images,
            max_bytes=self.max_body_bytes,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
            max_archive_ratio=self.max_archive_ratio,
        )

    @field_validator("api_keys")
    @classmethod
    def api_keys_can_be_read(cls, text: SecretStr | None) -> SecretStr | None:
        if text is not None:
            read_keys(text.get_secret_value())
        return text

    @field_validator("cors_origins")
    @classmethod
    def cors_origins_can_be_read(cls, text: str | None) -> str | None:
        if text is not None:
            read_origins(text)
        return text


@cache
def settings() -> Settings:
    """Return the settings, read from the environment at the first call.

    Raises:
        SystemExit: Some are invalid; the log says which.
    """
    try:
        return Settings()
    except ValidationError as error:
        refuse_to_start(f"The service cannot start with these settings. {words_of(error)}")


def words_of(error: ValidationError) -> str:
    """Return which variables are wrong and what would be right, without their values, which may be keys."""
    said = {str(one["loc"][0]).upper(): one["msg"].removeprefix("Value error, ") for one in error.errors()}
    return " ".join(f"{variable}: {words.removesuffix('.')}." for variable, words in said.items())


def is_log_json() -> bool:
    """Return whether the log is to be JSON, even if other settings are invalid."""
    return any(name.upper() == "LOG_FORMAT" and value == "json" for name, value in os.environ.items())


def read_keys(text: str) -> dict[str, bytes]:
    """Return the SHA-256 of each API key, by its name.

    Args:
        text: Names and keys, as name=key,name2=key2.

    Raises:
        ValueError: The text is not of that form. The message holds no part of a key.
    """
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, key = entry.partition("=")
        if not KEY_NAME.fullmatch(name) or not KEY.fullmatch(key):
            raise ValueError(
                f"Entry {place} is not name=key. Write name=key,name2=key2: names of letters, digits and "
                "_.-, keys of at least 16 characters of ASCII without commas and spaces. Or leave it unset; "
                "then everybody may ask."
            )
        if name in keys or digest(key.encode()) in keys.values():
            raise ValueError(f"Entry {place} has the name or the key of one before it. Give each its own.")
        keys[name] = digest(key.encode())
    return keys


def read_origins(text: str) -> list[str]:
    """Return origins of web pages; * stands for any.

    Raises:
        ValueError: One of them is not an origin.
    """
    origins = text.split(",")
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is no origin. Write them as a browser sends them, https://example.org or "
                "http://localhost:8080, with commas and no spaces between them; or * for all."
            )
    return origins


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
