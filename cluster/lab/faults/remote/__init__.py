"""The program that makes a virtual machine slow from inside, by its Python's library alone."""
