"""Async agent runtime for people who host Qwen3 themselves."""
