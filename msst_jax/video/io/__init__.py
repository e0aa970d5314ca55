"""Video files in and out: containers, codecs, color, audio, exact timestamps."""
