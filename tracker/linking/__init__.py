"""Identities over tracks and cameras."""
