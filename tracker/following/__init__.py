"""Tracking in one camera."""
