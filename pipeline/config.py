"""The configuration of a run: settings models, read from YAML, command-line options and ``--set``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from detectors.load import DetectorSettings
from detectors.runtime.settings import Days, Frames, Seconds, Settings
from pipeline.errors import UsageError
from pipeline.formats.validation import validated
from pipeline.formats.wall_clock import check_pattern, time_zone
from pipeline.formats.yaml_file import Key, read_yaml
from pipeline.store.settings import StoreSettings
from reid.embedder import EmbedderSettings
from tracker.following.perspective import PerspectiveSettings
from tracker.following.settings import TrackerSettings
from tracker.linking.association import AssociationSettings
from tracker.linking.linker import LinkerSettings
from tracker.refine import RefineSettings


class Reading(Settings):
    """Frame selection and decoding."""

    every: Frames = Field(default=1, ge=1, title="Frame stride", description="Process every N-th frame. ultralytics: `vid_stride`.")
    start: Seconds | None = Field(default=None, ge=0, title="Start", description="Start at this time of the video. Default: its beginning.")
    end: Seconds | None = Field(default=None, gt=0, title="End", description="Stop at this time of the video. Default: its end.")
    rate: Annotated[float, Field(json_schema_extra={"unit": "frames per s"})] | None = Field(
        default=None, gt=0, title="Image rate", description="Frame rate of image folders. Default: from `seqinfo.ini`, else 25."
    )
    prefetch: Frames = Field(default=8, ge=1, le=256, title="Prefetch", description="Number of frames to decode ahead, per camera.")
    clock: Literal["auto", "name", "container", "none"] = Field(
        default="auto",
        title="Wall clock",
        description="What states when a recording began: its `name`, its `container` (`creation_time`), the first of both that does (`auto`), "
        "or `none`. `--recorded-at` goes before.",
    )
    time_zone: str | None = Field(
        default=None,
        title="Time zone",
        description="Of times in file names and of `--recorded-at`, where they state none: `Europe/Berlin`, `UTC`, `+01:00`. Default: this "
        "computer's.",
    )
    time_pattern: str | None = Field(
        default=None,
        title="Time pattern",
        description="How file names state the time: the end of the path, without the extension, with `%Y %m %d %H %M %S %f %z %s` and `*`, "
        "such as `%Y-%m-%d/%H/gate/%M.%S`. Default: the usual patterns.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({self.end:g} s) must be after start ({self.start:g} s)")
        time_zone(self.time_zone)
        if self.time_pattern is not None:
            check_pattern(self.time_pattern)
        return self


class Output(Settings):
    """Output files of each camera. `tracks.txt`, tracklets and contact sheets are always written."""

    video: bool = Field(default=True, title="Video", description="Write the annotated video.")
    video_crf: int = Field(default=26, ge=0, le=51, title="Video CRF", description="Constant rate factor of x264; lower is better.")
    trail: Seconds = Field(default=2.0, ge=0, title="Trail", description="Draw a trail of this duration behind each person.")
    max_fill_gap: Seconds = Field(
        default=2.0,
        ge=0,
        le=60,
        title="Maximum gap to fill",
        description="Interpolate gaps in a track up to this long in `tracks.txt`. 0: none.",
    )
    sheet_crops: Annotated[int, Field(json_schema_extra={"unit": "crops"})] = Field(
        default=12, ge=1, le=64, title="Sheet crops", description="Maximum number of crops on a track's contact sheet."
    )


class MotionGate(Settings):
    """Skip the detector while the scene is static: the downscaled grey image equals that of the last frame that the detector processed."""

    max_skipped: Frames = Field(
        default=0,
        ge=0,
        title="Maximum skipped frames",
        description="Maximum number of frames skipped in a row, and thus the maximum delay before a new person is detected. 0: no gate.",
    )
    change_threshold: Annotated[float, Field(json_schema_extra={"unit": "grey levels of 255"})] = Field(
        default=10.0, gt=0, title="Change threshold", description="A pixel that differs by more than this is a change."
    )


class Live(Settings):
    """How live cameras are read, and how their results are cut into files."""

    open_timeout: Seconds = Field(
        default=5.0, gt=0, title="Open timeout", description="Give up connecting after this time, and try again later."
    )
    stall: Seconds = Field(
        default=2.0, gt=0, title="Stall timeout", description="Reconnect a stream that has given no frame for this time. Frigate: 20 s."
    )
    segment: Seconds = Field(
        default=900.0, gt=0, title="Segment length", description="Close the result files and begin new ones after this time."
    )
    save: Seconds = Field(default=60.0, gt=0, title="Save interval", description="Save the identities this often; a crash loses no more.")
    longest_track: Seconds = Field(
        default=300.0,
        gt=0,
        title="Longest track part",
        description="Write what a longer track has so far and free its memory; its id stays.",
    )
    max_behind: Seconds = Field(
        default=1.0,
        gt=0,
        lt=2,
        title="Largest delay of reading",
        description="Where decoding is later than this, a camera is read less: its sub-stream, then key frames only.",
    )
    clips: bool = Field(
        default=False, title="Clips", description="Write a short clip when a person is first identified in a camera (H.264, H.265)."
    )
    clip_before: Seconds = Field(
        default=12.0, gt=0, le=60, title="Clip before", description="What a clip shows of the time before its event."
    )
    clip_after: Seconds = Field(default=5.0, gt=0, le=60, title="Clip after", description="What a clip shows of the time after its event.")
    clock_bound: Seconds = Field(
        default=1.0, gt=0, title="Clock bound", description="Warn where the clocks of two cameras that share people are further apart."
    )
    keep_images: Days | None = Field(
        default=30.0, gt=0, title="Keep images", description="Remove contact sheets and crops after this time. null: never."
    )
    keep_tracks: Days | None = Field(default=90.0, gt=0, title="Keep tracks", description="Remove segments after this time. null: never.")
    keep_events: Days | None = Field(default=365.0, gt=0, title="Keep events", description="Remove events after this time. null: never.")
    keep_clips: Days | None = Field(default=10.0, gt=0, title="Keep clips", description="Remove clips after this time. null: never.")


class Publish(Settings):
    """`passerby live --publish`: how an edge sends its updates to a broker."""

    spool: int = Field(
        default=256,
        ge=1,
        title="Spool limit",
        description="Disk space for messages while the broker is away; beyond it the oldest are dropped, and counted.",
        json_schema_extra={"unit": "MB"},
    )
    repeat: int = Field(
        default=1000,
        ge=0,
        title="Repeated messages",
        description="After a reconnect, send so many of the last messages again: a broker that died may have lost them.",
        json_schema_extra={"unit": "messages"},
    )
    backoff: Seconds = Field(default=10.0, gt=0, title="Longest backoff", description="Longest time between attempts to reach the broker.")


class Centre(Settings):
    """`passerby link`: the centre of a site, which decides from what the edges publish."""

    idle: Seconds = Field(
        default=60.0,
        gt=0,
        title="Idle edge",
        description="Go on without an edge that has sent nothing for this time. Its later updates may be too late, which is counted.",
    )
    snapshot: Seconds = Field(
        default=10.0,
        gt=0,
        title="Snapshot interval",
        description="Save the state this often, and acknowledge what is in it. Less often where saving takes over a twentieth of the time.",
    )
    visit_gap: Seconds = Field(
        default=60.0,
        gt=0,
        title="Visit gap",
        description="With a parent site: a person unseen for this time begins another visit. Must be less than the parent's `linker.settle_time`.",
    )
    keep: Seconds = Field(
        default=600.0, ge=0, title="Kept messages", description="Leave acknowledged messages in the broker's stream for this time."
    )


class Config(Settings):
    """All settings of a run, except its sources."""

    detector: DetectorSettings = DetectorSettings()
    reid: EmbedderSettings = EmbedderSettings()
    tracker: TrackerSettings = TrackerSettings()
    perspective: PerspectiveSettings = PerspectiveSettings()
    association: AssociationSettings = AssociationSettings()
    linker: LinkerSettings = LinkerSettings()
    refine: RefineSettings = RefineSettings()
    reading: Reading = Reading()
    motion_gate: MotionGate = MotionGate()
    output: Output = Output()
    live: Live = Live()
    publish: Publish = Publish()
    centre: Centre = Centre()
    store: StoreSettings = StoreSettings()

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = _merge(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
    return out


def nested(path: str, value: Any) -> dict[str, Any]:
    """``nested("a.b", 1)`` is ``{"a": {"b": 1}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _at(place: str) -> Callable[[tuple[Key, ...]], str]:
    """For ``validated``: every value comes from ``place``."""
    return lambda _: place


def load_config(file: Path | None = None, sets: Iterable[str] = (), options: Mapping[str, Any] | None = None) -> Config:
    """Merge defaults, the YAML ``file``, ``options`` (dotted key -> value; None: not given) and ``sets`` (``key=value``); later ones win.

    Raises UsageError naming the file and line or the option, the dotted key, and what is expected.
    """
    values: dict[str, Any] = {}
    chosen = {key: value for key, value in (options or {}).items() if value is not None}
    sets = list(sets)
    if file is not None:
        loaded = read_yaml(file, "configuration file")
        validated(Config, loaded.values, loaded.where, whole=not chosen and not sets)
        values = dict(loaded.values or {})
    for key, value in chosen.items():
        values = _merge(values, nested(key, value))
    for item in sets:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {item}: expected KEY=VALUE, e.g. --set tracker.max_lost=5")
        try:
            reserved = text[:1] in ("%", "@", "`")  # no YAML value begins so: it is text, such as a pattern
            given = nested(key.strip(), text if reserved else yaml.safe_load(text))
        except (yaml.YAMLError, ValueError):
            raise UsageError(f"--set {item}: {text!r} is not valid YAML; quote text that contains special characters") from None
        validated(Config, given, _at(f"--set {item}"), whole=False)
        values = _merge(values, given)
    return validated(Config, values, _at("configuration"))
