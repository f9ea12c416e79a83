"""Serving a packaged model: the BentoML service, its request form, and the web page."""
