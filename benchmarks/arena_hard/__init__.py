"""Arena-Hard v0.1 and v2.0: two games a prompt on a five-way scale, Bradley-Terry fits, style control."""
