"""Study: what makes a model of one step survive being rolled out."""
