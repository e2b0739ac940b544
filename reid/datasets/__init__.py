"""Re-ID data sets and their splits."""
