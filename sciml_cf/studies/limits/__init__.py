"""Study: what limits the most accurate Burgers surrogate, one change of its training at a time."""
