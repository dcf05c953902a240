"""How long the common jobs take, each in a process of its own: `make bench`."""
