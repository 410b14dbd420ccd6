"""Study: how models transfer between resolutions."""
