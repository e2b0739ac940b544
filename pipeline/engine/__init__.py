"""Frames to tracks: cameras, steps, journal."""
