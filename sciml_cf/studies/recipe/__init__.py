"""Study: the best training of a Burgers surrogate that is known here."""
