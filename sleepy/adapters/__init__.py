"""An adapter becomes part of the weights."""
