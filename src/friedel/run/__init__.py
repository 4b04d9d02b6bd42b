"""Runners: where blocks are processed."""
