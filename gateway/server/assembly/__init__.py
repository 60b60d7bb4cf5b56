"""The parts of a gateway, one file for each subject. `build.py` is the list of them."""
