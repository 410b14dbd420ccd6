"""Grids: points of a periodic box, cells between walls, and spectra on them."""
