"""Two engines, one interface: ``records(work, refs)`` gives an RDD of timed results."""
