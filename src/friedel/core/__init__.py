"""The task registry, parameters, units, provenance, progress and errors that every room relies on."""
