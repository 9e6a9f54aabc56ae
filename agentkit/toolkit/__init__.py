"""Placeholder of the layer; filled by its own commit."""
