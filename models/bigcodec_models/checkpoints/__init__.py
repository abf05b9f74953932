"""Model files: ours, the published ones, and what both have to withstand."""
