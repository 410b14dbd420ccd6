"""Study: the explicit softmax layer on digits and text."""
