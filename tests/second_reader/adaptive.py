"""Section 6.4: the adaptive coder."""

from __future__ import annotations

from .range_decoder import RangeDecoder, cumulative

RECOUNT = 64  # tokens after which frequencies of counts are computed again


class Followers:
    """The tokens that followed one, with a count each, in the order in which they came."""

    def __init__(self, token: int) -> None:
        self.tokens, self.counts = [token], [1]

    def add(self, token: int) -> None:
        """Counts a token that has followed."""
        if token in self.tokens:
            self.counts[self.tokens.index(token)] += 1
        else:
            self.tokens.append(token)
            self.counts.append(1)

    def age(self) -> int:
        """min(31, 2 L - 2 + h), where L and h are those of the sum of the counts."""
        digits = f"{sum(self.counts):b}"
        return min(31, 2 * len(digits) - 2 + int(digits[1:2] or "0"))


class Codebook:
    """The statistics of one codebook of `size` entries in one run of blocks."""

    def __init__(self, size: int) -> None:
        self.counts = [1] * size
        self.starts = cumulative(self.counts)
        self.seen = 0
        self.followers: dict[int, Followers] = {}
        self.novelty = [[2, 1] for _ in range(32)]  # by age: counts of new and of known
        self.last: dict[int, int] = {}  # by channel

    def decode(self, decoder: RangeDecoder, channel: int) -> int:
        """The next token of a channel."""
        if channel not in self.last:
            token, known = decoder.symbol(self.starts), False
        else:
            token, known = self.decode_follower(decoder, self.list_of(channel))
        self.learn(token, channel, known)
        return token

    def decode_follower(self, decoder: RangeDecoder, followers: Followers) -> tuple[int, bool]:
        """The next token, behind one of these followers, and whether it was coded as known."""
        if not decoder.symbol(cumulative(self.novelty[followers.age()])):
            return decoder.symbol(self.starts), False
        if len(followers.tokens) == 1:
            return followers.tokens[0], True
        return followers.tokens[decoder.symbol(cumulative(followers.counts))], True

    def list_of(self, channel: int) -> Followers:
        """Those of the last token of a channel."""
        token = self.last[channel]
        return self.followers.setdefault(token, Followers(token))

    def learn_raw(self, token: int, channel: int) -> None:
        """Counts a token of a block that is packed raw, as if it had been coded."""
        known = channel in self.last and token in self.list_of(channel).tokens
        self.learn(token, channel, known)

    def learn(self, token: int, channel: int, known: bool) -> None:
        """Counts a token of a channel."""
        if channel in self.last:
            followers = self.list_of(channel)
            self.novelty[followers.age()][known] += 2
            followers.add(token)
        self.last[channel] = token
        self.counts[token] += 1
        self.seen += 1
        if self.seen % RECOUNT == 0:
            self.starts = cumulative(self.counts)
