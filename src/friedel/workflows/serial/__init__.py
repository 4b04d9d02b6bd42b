"""Serial crystallography: spots above the background of their ring, and frames stored as background and spots."""
