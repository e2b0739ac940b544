"""Simulated edges: people who walk through a site's cameras, as the messages that the edges publish."""

from __future__ import annotations

import numpy as np

from pipeline.messaging.messages import BlindMessage, CameraStateMessage, ClockMessage, ModelFacts, TrackletMessage, tracklet
from tracker import TrackletUpdate

Message = ClockMessage | TrackletMessage | CameraStateMessage | BlindMessage
EDGES = ("north", "east", "south", "west")
MODEL = ModelFacts(sha256="simulated")


def walks(seed: int, people: int = 8, visits: int = 60, cameras: int = 3, width: int = 32) -> dict[str, list[TrackletUpdate]]:
    """Updates of each edge, as tracks grow, second by second. The last three digits of a track say who it is."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(people, width))
    free, out = rng.uniform(0, 20, people), {edge: [] for edge in EDGES}
    for visit in range(visits):
        person = int(rng.integers(people))
        track = 1000 * visit + person
        edge, camera = EDGES[int(rng.integers(len(EDGES)))], int(rng.integers(cameras))
        start = round(float(free[person]), 3)
        end = start + float(rng.integers(3, 12))
        free[person] = end + rng.uniform(2, 20)
        total = np.zeros(width)
        for second in np.arange(start + 1, end + 0.5):
            seen = looks[person] + rng.normal(0, 0.35, width)
            total += seen / np.linalg.norm(seen)
            unit = (total / np.linalg.norm(total)).astype(np.float32)
            out[edge].append(TrackletUpdate(f"{edge}-{camera}", track, start, float(second), unit, 0.8 * (second - start)))
    return {edge: sorted(updates, key=lambda one: (one.end, one.track)) for edge, updates in out.items()}


def published(updates: list[TrackletUpdate], edge: str, until: float, session: str = "s") -> list[Message]:
    """The messages of an edge in order: updates, a clock each second, and a last clock by which all is settled."""
    out: list[Message] = [CameraStateMessage(edge=edge, session=session, number=0, camera=f"{edge}-0", time=0.0, state="running")]
    waiting = list(updates)
    for second in [*range(int(until) + 1), int(until) + 1000]:
        if second % 50 in (20, 35):  # a camera is away for a while
            start = second - second % 50 + 20.0
            end = None if second == start else float(second)
            out.append(
                BlindMessage(edge=edge, session=session, number=len(out), camera=f"{edge}-1", time=float(second), start=start, end=end)
            )
        while waiting and waiting[0].end <= second:
            out.append(tracklet(edge, session, len(out), waiting.pop(0), MODEL.sha256))
        out.append(ClockMessage(edge=edge, session=session, number=len(out), time=float(second), model=MODEL))
    return out


def time_of(message: Message) -> float:
    return message.end if isinstance(message, TrackletMessage) else message.time


def disturbed(messages: list[Message], lateness: float, seed: int, share: float = 0.1) -> list[Message]:
    """Each message up to ``lateness`` seconds later than it was sent, a ``share`` of them twice, in the order in which they then come."""
    rng = np.random.default_rng(seed)
    doubled = [messages[at] for at in np.flatnonzero(rng.random(len(messages)) < share).tolist()]
    *rest, last = messages
    arrivals = [(time_of(one) + rng.uniform(0, lateness), one.number, one) for one in [*rest, *doubled]]
    return [one for _, _, one in sorted(arrivals, key=lambda item: item[:2])] + [last]
