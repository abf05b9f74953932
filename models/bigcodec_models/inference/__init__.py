"""Running a network over long streams and many of them, and faster forms of its layers."""
