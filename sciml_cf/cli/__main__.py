"""`python -m sciml_cf.cli`, the same as `sciml-cf`."""

from sciml_cf.cli.dispatch import main

main()
