"""Every number of the program; see photo.py for what the fields mean."""
