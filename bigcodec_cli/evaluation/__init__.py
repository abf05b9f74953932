"""Quality and bit rate of codecs, compared on the same speech."""
