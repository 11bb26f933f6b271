//! Who is served.
