"""The demo: a whole alignment of a small model that is trained from scratch."""
