"""The HTTP routes of the page."""
