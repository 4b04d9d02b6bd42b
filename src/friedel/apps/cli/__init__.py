"""The command line, made from the task registry."""

from .main import main

__all__ = ["main"]
