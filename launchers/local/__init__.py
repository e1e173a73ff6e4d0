"""This machine: ranks as processes."""
