"""Video, audio and pictures in and out, through ffmpeg and Pillow."""

FPS = 25  # of every clip, and of all that is made

# Endings by which files are looked for; what a file holds is decided by opening it.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".flv", ".f4v", ".wmv"),
    *(".asf", ".ts", ".m2ts", ".mts", ".m2t", ".mpg", ".mpeg", ".m2v", ".vob", ".dat", ".mxf"),
    *(".dv", ".ogv", ".ogm", ".3gp", ".3g2"),
)
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".aac", ".aif", ".aiff", ".caf"),
    *(".au", ".snd", ".wma", ".mka", ".weba", ".amr", ".ac3", ".eac3", ".mp2", ".wv", ".ape"),
    *(".tta", ".w64"),
)
