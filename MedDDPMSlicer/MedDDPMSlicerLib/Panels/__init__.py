"""What the panels of several modules share; the only part of the package that needs Qt."""
