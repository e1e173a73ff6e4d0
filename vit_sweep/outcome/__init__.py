"""How attempts end and what follows: ending, verdict, policy, failure, result. Pure."""
