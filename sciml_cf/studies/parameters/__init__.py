"""Study: one model with the viscosity as an input, against a model for each viscosity."""
