"""The command line: options in, one call of the library, a result shown. No logic of its own."""
