"""The changes of a row before a format reads it: other names of columns, and a prompt made from several of them."""
