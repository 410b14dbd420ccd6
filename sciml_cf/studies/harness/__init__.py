"""Shared parts of studies: grids of trainings, selection, intervals over seeds, result files and pages."""
