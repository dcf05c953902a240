"""Header x Header -> Rules: which keys of a checkpoint are which of a model's, and how sure that is. Pure."""
