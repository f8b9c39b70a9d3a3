"""How far an image is from what its network expects, float64 (N,), higher = more anomalous."""
