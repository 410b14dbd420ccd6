"""Study: a Fourier neural operator on Burgers' equation, from data to report."""
