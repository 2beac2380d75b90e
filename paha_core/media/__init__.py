"""Video and audio in and out, through ffmpeg."""

FPS = 25  # of every clip, and of all that is made
