"""HTML pages and SVG charts, from Jinja templates."""
