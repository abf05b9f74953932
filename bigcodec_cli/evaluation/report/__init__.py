"""Results as a page, as a table, as JSON and CSV."""
