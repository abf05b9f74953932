"""What is measured, and the statistics of it."""
