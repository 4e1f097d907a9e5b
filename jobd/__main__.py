"""`python -m jobd`: the command line."""

from jobd.cli.main import main

main()
