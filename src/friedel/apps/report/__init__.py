"""The self-contained page that shows a result."""
