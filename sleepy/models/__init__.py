"""Where weights come from, and how they become files that training and the engines can read."""
