"""python -m device_app: the command line, where the script is not on the path."""

from device_app.cli import main

main()
