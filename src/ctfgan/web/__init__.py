"""The local page: a generator in the browser, and the same powers as JSON."""
