"""Files with planted defects, and the lines that hold them. The code shares nothing with the checks that it tests."""
