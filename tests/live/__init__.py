"""Cameras of our own and the faults that they play: the tests of live mode."""
