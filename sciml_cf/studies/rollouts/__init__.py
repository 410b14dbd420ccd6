"""Study: trainings of one-step models that keep roll-outs accurate."""
