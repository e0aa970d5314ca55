"""The process and its devices: console, distributed set-up, huge pages, interrupts, prefetching."""
