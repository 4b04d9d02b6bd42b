"""One room for each technique; a technique never imports another."""
