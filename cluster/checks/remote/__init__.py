"""Programs that run on hosts, on their own Python's standard library alone.

They are sent as text over SSH, never imported there. Parameters come as one JSON argument, answers
go out as one JSON object a line, and the caller bounds their time.
"""
