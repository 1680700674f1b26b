"""`python -m service.cli`, for processes that start `lorad` with the interpreter that they run in."""

from service.cli.main import main

main()
