"""Study: the paper's Figure 2, test error against iteration for several batch sizes."""
