"""What an operator can set, each by an environment variable of the same name in capitals."""

from functools import cache
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.access import read_keys, read_origins
from serving.engine import Choice
from serving.images import MAX_PIXELS, MAX_SIDE


class Settings(BaseSettings):
    """The service's limits and its use of the machine."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)  # which may be a key

    workers: int = Field(1, ge=1, description="Processes that answer requests.")
    torch_threads: int = Field(1, ge=1, description="Threads that one forward pass or drift test uses.")
    classify_threads: int | None = Field(
        None,
        ge=1,
        description="Classifications that one worker makes at a time of a large model, which the digits' is "
        "not; unset, one for each of its cores.",
    )
    precision: Choice = Field(
        "auto",
        description="Of the weights: bfloat16 where a model takes it, float32, or the faster of them.",
    )
    max_queue: int = Field(
        64,
        ge=1,
        description="Requests of each endpoint that a worker answers or lets wait; more are to come again.",
    )
    max_connections: int = Field(
        2000, ge=1, description="Connections that a worker holds open; more are closed at once."
    )
    timeout_seconds: float = Field(60, gt=0, description="How long a request may take; then its work stops.")
    read_timeout_seconds: float = Field(
        10,
        gt=0,
        description="How long a client may take to send its headers, and pause while it sends a body.",
    )
    grace_seconds: int = Field(
        7, ge=1, description="How long requests in progress have to be answered when the service is stopped."
    )
    max_body_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="Size of a request, all its files together, and of what an archive unpacks to.",
    )
    max_images: int = Field(1000, ge=2, description="Images in one request.")
    max_held_bytes: int = Field(
        256 * 2**20, ge=1, description="Size of all requests together that a worker holds at a time."
    )
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="Width times height of one image.")
    max_side: int = Field(MAX_SIDE, ge=1, description="Width and height of one image, each.")
    max_archive_ratio: float = Field(
        200, ge=1, description="How many times its size an archive may unpack to, where that is over 1 MiB."
    )
    api_keys: SecretStr | None = Field(
        None,
        description="Who may ask: name=key, several with commas between them; unset, everybody.",
    )
    public_metrics: bool = Field(False, description="Whether /metrics needs no key where there are keys.")
    cors_origins: str | None = Field(
        None, description="Web pages of other origins that may ask, with commas between them; unset, none."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Of the log: text, or json, one object a line."
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
    """Return the settings, read from the environment once."""
    return Settings()
