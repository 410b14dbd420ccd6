"""Study: deep-feature instrumental variables on images of hearts."""
