"""Parallel-beam tomography: from sinograms to slices."""
