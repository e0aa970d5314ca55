"""Command lines: flags to jobs, and the entry points of the scripts."""
