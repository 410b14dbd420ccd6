"""Equations typed as text: what a text says, and the symbol and nonlinear term that follow from it."""
