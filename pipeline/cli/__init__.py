"""The command ``passerby``."""
