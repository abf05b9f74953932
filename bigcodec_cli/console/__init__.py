"""What the user sees while a command runs: messages, errors and bars on stderr."""
