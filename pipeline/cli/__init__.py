"""The ``passerby`` command line."""
