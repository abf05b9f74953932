"""Models and priors on this machine: kept, found, fetched and loaded."""
