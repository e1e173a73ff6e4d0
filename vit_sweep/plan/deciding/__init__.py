"""What a sweep that decides is asked, and what it may choose from. Pure."""
