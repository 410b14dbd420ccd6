"""Generate PDE datasets: spectral solvers, random fields, and one self-describing HDF5 file."""
