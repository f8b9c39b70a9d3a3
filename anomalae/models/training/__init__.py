"""How networks are trained: the loop, the corruption of its images, checkpoints. It never sees a label."""
