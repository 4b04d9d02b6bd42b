"""The conventions on xarray: dimensions, units, sigma beside the signal, masks, provenance."""
