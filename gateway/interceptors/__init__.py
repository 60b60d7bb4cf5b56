"""What every call passes on its way in and out, in the order of sequencer.py."""
