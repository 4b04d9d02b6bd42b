"""Where code runs: the device and the number of threads. The only room that may import cupy."""
