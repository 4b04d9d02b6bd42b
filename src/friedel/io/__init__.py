"""File formats: lazy frame sources, block sinks, NeXus in and out."""
