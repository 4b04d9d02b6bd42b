"""Elements, form factors, cells, space groups and crystals."""
