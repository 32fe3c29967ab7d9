"""The order in which a learner meets what it learns."""
