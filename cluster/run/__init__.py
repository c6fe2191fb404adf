"""``cluster run`` on a cluster: the driver on the edge host, followed from here."""
