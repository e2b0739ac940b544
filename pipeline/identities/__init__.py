"""Identities across finished runs."""
