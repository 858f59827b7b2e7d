"""Search: from the pyramid to the network that is found."""
