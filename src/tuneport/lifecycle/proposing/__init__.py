"""A job before it starts: proposed with its price, agreed to, and its row written."""
