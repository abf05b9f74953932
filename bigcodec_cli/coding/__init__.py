"""From audio files to containers and back, many at once."""
