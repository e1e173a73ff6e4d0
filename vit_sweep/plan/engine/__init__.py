"""What each engine can do, which of its keys a cell may set, and DeepSpeed's file of them. Pure."""
