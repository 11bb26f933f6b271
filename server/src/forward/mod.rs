//! Every name that is not a key: asked of the upstream resolvers.
