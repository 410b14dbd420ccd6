"""What rules share: the class that they are made on, one solve, and running means of earlier batches."""
