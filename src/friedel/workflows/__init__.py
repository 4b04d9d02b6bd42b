"""What joins techniques."""
