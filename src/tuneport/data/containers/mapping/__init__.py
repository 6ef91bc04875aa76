"""What is made of a row before a format reads it: other names of columns, and a prompt from several of them."""
