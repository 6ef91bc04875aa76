"""Two systems' answers compared by people who do not know whose is whose: the pairs, the judgements, what they say."""
