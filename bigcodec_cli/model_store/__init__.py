"""Models and priors on this machine: storing, downloading and loading them."""
