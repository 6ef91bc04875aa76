"""Lists of words and phrases that the checks of rows look for."""
