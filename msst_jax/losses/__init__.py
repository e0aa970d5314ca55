"""Losses as pure functions: one a formula, and their weighted sum."""
