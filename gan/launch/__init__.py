"""Where runs run, and how long they take."""
