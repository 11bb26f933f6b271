//! Puts the parts together: binds, serves and stops.
