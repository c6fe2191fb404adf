"""Labs: the machines of an inventory, made on this computer."""
