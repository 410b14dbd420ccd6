"""What studies share: grids of trainings, selection, intervals over seeds, result files and pages."""
