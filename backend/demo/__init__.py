"""A whole Label Studio with this backend, on this machine, with pictures: to try it out, and to test it."""
