"""Study: optimizers with gradients alone, and with the closed-form head, at equal steps and equal seconds."""
