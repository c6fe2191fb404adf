"""The executors' Python environment: built once, packed, and brought to the hosts."""
