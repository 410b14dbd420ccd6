"""The data commands: `sciml-cf generate | info | plot | validate | repack | convert`."""
