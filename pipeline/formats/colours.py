"""One colour per track or person, the same in the video and on the page."""

from __future__ import annotations

# white text on them has a contrast of 4.5 or more; easy to tell apart
PALETTE = (
    "#c0392b", "#1f6fb2", "#1e8449", "#96600b", "#7d3c98", "#117a8b", "#ad1457", "#5d6d1e", "#6e4b3a", "#3949ab", "#00796b", "#b84a00",
)  # fmt: skip


def colour(track: int) -> str:
    """The hexadecimal colour of a track or an identity."""
    return PALETTE[track % len(PALETTE)]
