//! Binds, serves and stops.
