"""The scheduler side: partition profiles, job requests, and the backends that run them.

It knows nothing of Vision Transformers: a job is a command, a folder and a resource shape.
"""
