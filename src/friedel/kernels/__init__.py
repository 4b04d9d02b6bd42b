"""Array functions that know no physics: a numpy reference and a compiled twin of each."""
