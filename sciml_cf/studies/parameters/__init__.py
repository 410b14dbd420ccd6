"""Study: one model that is told the viscosity, beside a model for each."""
