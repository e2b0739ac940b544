"""The console: pages and an API over a store of sightings, for people who look for, review and count people. Needs ``passerby[web]``."""
