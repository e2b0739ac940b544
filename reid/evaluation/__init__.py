"""Retrieval, open-set and calibration figures."""
