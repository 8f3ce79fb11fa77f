"""How cost grows: with what is stored, with codes, and with the size of what a worker holds in memory."""
