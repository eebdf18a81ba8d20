"""A stand-in for a Django wallet service, to measure Florin against: see README.md beside this package."""
