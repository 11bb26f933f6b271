//! UDP and TCP: bytes to the service and back.
