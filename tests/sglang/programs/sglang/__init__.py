"""Stands for SGLang where that is not installed."""
