"""Study: how good the closed-form head is across the field, compared with gradients and with a re-fitted last layer."""
