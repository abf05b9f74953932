"""Messages, errors and progress bars on stderr."""
