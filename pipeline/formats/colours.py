"""One colour per track, the same in the video and on the page."""

from __future__ import annotations

# dark enough for white text, and easy to tell apart
PALETTE = (
    "#c0392b", "#1f6fb2", "#1e8449", "#b9770e", "#7d3c98", "#117a8b", "#ad1457", "#5d6d1e", "#6e4b3a", "#3949ab", "#00796b", "#d35400",
)  # fmt: skip


def colour(track: int) -> str:
    """The hexadecimal colour of a track."""
    return PALETTE[track % len(PALETTE)]
