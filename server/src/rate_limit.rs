//! Quotas per client.
