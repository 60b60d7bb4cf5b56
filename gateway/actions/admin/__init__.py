"""Actions of administration: boards, operator settings, keys, other paths of Phoenix."""
