"""What shows that an engine trains what one process trains: a rehearsal, the gradient guard, the certificate."""
