"""Equations typed as text: the syntax, the terms, and the symbol and nonlinear term made of them."""
