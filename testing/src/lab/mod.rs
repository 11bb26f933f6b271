//! A small internet in a network namespace, and the resolvers of the world in it.

pub mod internet;
pub mod resolvers;
