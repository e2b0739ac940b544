"""What is written while frames pass."""
