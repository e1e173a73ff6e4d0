"""How a rank imports: once, all that it needs, and of large libraries only the part that it uses."""
