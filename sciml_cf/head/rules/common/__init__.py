"""Shared parts of rules: their base class, one solve, and running means of earlier batches."""
