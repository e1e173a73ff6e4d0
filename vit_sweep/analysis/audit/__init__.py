"""Which claims a study's figures can carry: named rules over runs and series. Pure; docs/audit.md lists them."""
