"""What a job measured, and summaries of one record. Pure."""
