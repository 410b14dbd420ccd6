"""Dataset files: their HDF5 layout, shards, the journal of an unfinished file, reading and writing."""
