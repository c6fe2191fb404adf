"""Programs that run on hosts: host.py on the host's own Python, publish.py on the environment's."""
