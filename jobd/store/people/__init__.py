"""Users, organizations and tokens: who may do what."""
