"""Speech for training: which files there are, and crops of them."""
