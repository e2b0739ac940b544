"""Re-ID datasets and their splits."""
