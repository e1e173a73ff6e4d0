"""A sweep that decides: what a question's answer is by now, which cells narrow it most, when to stop. Pure."""
