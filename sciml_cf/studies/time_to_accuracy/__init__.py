"""Study: seconds and steps until a validation error is reached."""
