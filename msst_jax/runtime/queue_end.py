"""What a thread puts into a queue after the last item, for the thread that takes them."""


class End:
    """Marks the end of the items."""
