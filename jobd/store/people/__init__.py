"""Users, organizations and tokens: who may touch what."""
