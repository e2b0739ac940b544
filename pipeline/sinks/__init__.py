"""Outputs that are written frame by frame."""
