"""Study: whole networks by layer-wise least squares."""
