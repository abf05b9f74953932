"""Speech for training: an index of audio files, and crops of them."""
