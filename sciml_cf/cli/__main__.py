"""`python -m sciml_cf.cli` is `sciml-cf`."""

from sciml_cf.cli.dispatch import main

main()
