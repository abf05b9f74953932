"""One module a command: options in, one call to the code that does the work."""
