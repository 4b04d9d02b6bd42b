"""XRD-CT: from the frames of a translation-rotation scan to maps of phases."""
