"""Identities over finished runs."""
