//! `vanity`
mod field;
mod pattern;
mod search;
mod walk;
