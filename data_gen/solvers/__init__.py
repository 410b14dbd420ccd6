"""Solvers: a batch of fields through time with error control, and steady Darcy flow."""
