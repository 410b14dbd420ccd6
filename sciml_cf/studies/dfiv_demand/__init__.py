"""Study: deep-feature instrumental variables on the demand for airline tickets."""
