"""Single time steps of exponential integrators; they know no equation."""
