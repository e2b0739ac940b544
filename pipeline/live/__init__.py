"""Live cameras: streams that come back, bounded lag, identities while they run."""
