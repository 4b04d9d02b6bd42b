"""Calibration as tasks: images and tables in, geometry files, results and verdicts out."""
