"""What holds for every test."""

import signal

# A step of `make test` that runs beside another begins with Ctrl-C ignored, as would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
