"""Study: the transfer of models between resolutions."""
