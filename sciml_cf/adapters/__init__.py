"""Adapters to other people's trainers, a file for each; each works with the unmodified library."""
