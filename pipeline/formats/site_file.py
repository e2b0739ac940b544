"""Reader of site files: YAML to ``SiteFile``, a ``Site`` whose cameras may have stream addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.address import Address
from pipeline.formats.paths import is_safe_name
from pipeline.formats.validation import validated
from pipeline.formats.yaml_file import read_yaml
from tracker import Site
from tracker.site import CameraPlace


class CameraEntry(CameraPlace):
    """A camera of the site file: its place, and for ``passerby live`` how it is reached."""

    url: str | None = Field(
        default=None, title="URL", description="Stream (rtsp, rtsps, http, https), or a video file to play in real time."
    )
    substream: str | None = Field(
        default=None,
        title="Sub-stream",
        description="The same camera's smaller stream (with the same user and password), read instead where the machine does not keep up.",
    )
    user: str | None = Field(default=None, title="User", description="User name of the stream.")
    password_env: str | None = Field(default=None, title="Password variable", description="Environment variable that holds the password.")
    password_file: Path | None = Field(default=None, title="Password file", description="File that holds the password and nothing else.")
    transport: Literal["tcp", "udp"] = Field(
        default="tcp", title="Transport", description="Of RTSP: tcp, or udp where packets may be lost."
    )
    rate: float | None = Field(
        default=None,
        gt=0,
        title="Rate",
        description="Process at most this many frames per second. Default: all.",
        json_schema_extra={"unit": "1/s"},
    )
    verify: bool = Field(default=True, title="Verify TLS", description="Check the certificate of rtsps and https.")
    ca_file: Path | None = Field(default=None, title="CA file", description="Certificates to check against, PEM. Default: the system's.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("give either password_env or password_file, not both")
        if self.user is None and (self.password_env or self.password_file):
            raise ValueError("a password needs a user")
        return self

    @property
    def address(self) -> Address:
        return Address(self.url or "")


class SiteFile(Site):
    """What a site file may hold."""

    name: str = Field(default="site", title="Name", description="Name of the site on a broker, where several sites share one.")

    cameras: dict[str, CameraEntry] = Field(  # type: ignore[assignment]
        default={}, title="Cameras", description="Address, place and areas of each camera, by its name."
    )

    @field_validator("name")
    @classmethod
    def _safe(cls, name: str) -> str:
        if not is_safe_name(name):
            raise ValueError(f"{name[:60]!r}: expected letters, digits, '_', '-' and '.'")
        return name


def load_site(path: Path | None) -> SiteFile:
    """Read a site file; None: an empty site. Raises UsageError naming file, line and dotted key."""
    if path is None:
        return SiteFile()
    file = read_yaml(path, "site file")
    return validated(SiteFile, file.values, file.where)
