"""What a command does, from request to results."""
