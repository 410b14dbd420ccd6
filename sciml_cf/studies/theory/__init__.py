"""Study: the theorems of the method checked by numbers."""
