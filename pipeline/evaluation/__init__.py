"""Scores against ground truth."""
