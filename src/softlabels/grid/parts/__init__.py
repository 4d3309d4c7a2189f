"""What the spec of a run is made of: how it is trained, on what kind of target, what it begins with, what is asked."""
