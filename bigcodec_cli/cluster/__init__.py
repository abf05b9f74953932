"""`compress --ray`: the same work on the nodes of a Ray cluster."""
