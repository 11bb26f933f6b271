//! Verified packets: memory first, then the network, one fetch per key at a time.
