"""Zones and lines: who entered, left, stayed how long, crossed in which direction; per track, per person, and as report rows."""
