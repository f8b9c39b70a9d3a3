"""PyOD's detectors behind the calls of our own, each fitted in a process of its own."""
