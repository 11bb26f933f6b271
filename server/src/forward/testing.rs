//! Name servers for tests, on loopback: an honest one, and one that does what a script tells it.
