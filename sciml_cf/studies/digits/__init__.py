"""Study: classification of scikit-learn's digits with closed-form heads."""
