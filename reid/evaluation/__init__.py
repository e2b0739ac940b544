"""Retrieval, open-set metrics and calibration."""
