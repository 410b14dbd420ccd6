"""Benchmarks that a person can run: grids of trainings, chosen and reported alike; each one result and one page."""
