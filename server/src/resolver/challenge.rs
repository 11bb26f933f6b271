//! Names by which a certificate authority is shown that somebody has a name: what they say has to be new. Pure.

/// The label of RFC 8555 section 8.4. With dns-account-01 a label for the account stands before it.
const LABEL: &[u8] = b"_acme-challenge";

/// Whether a name in wire form begins with it.
pub(super) fn is_challenge(wire_name: &[u8]) -> bool {
    let Some((first, rest)) = first_label(wire_name) else { return false };
    let is_label = |label: &[u8]| label.eq_ignore_ascii_case(LABEL);
    is_label(first)
        || first.starts_with(b"_") && first_label(rest).is_some_and(|(second, _)| is_label(second))
}

/// And what stands behind it.
fn first_label(wire_name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = wire_name.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_known_by_their_first_labels_whatever_their_case() {
        for (name, expected) in [
            (&b"\x0f_acme-challenge\x03www\x03key\0"[..], true),
            (b"\x0f_ACME-Challenge\x03key\0", true),
            (b"\x11_ujmmovf2vn55tgye\x0f_acme-challenge\x03key\0", true),
            (b"\x03www\x0f_acme-challenge\x03key\0", false),
            (b"\x10_acme-challengex\x03key\0", false),
            (b"\x0e_acme-challeng\x03key\0", false),
            (b"\x03www\x03key\0", false),
            (b"\0", false),
            (b"", false),
        ] {
            assert_eq!(is_challenge(name), expected, "{}", String::from_utf8_lossy(name));
        }
    }
}
