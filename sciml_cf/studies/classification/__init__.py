"""Study: image classification by the paper's recipes."""
