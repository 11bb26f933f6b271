//! How a reply ends: its code and its extended error, for the log.

use hickory_proto::op::ResponseCode;

use super::{TYPE_OPT, edns::OPTION_EXTENDED_ERROR, frame::Frame, records::skip_questions, u16_at};

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its code.
    pub code: ResponseCode,
    /// The INFO-CODE of its extended error (RFC 8914).
    pub extended_error: Option<u16>,
}

/// Looks at a reply of our own without reading its records. `None` where it is none.
pub fn read_outcome(reply: &[u8]) -> Option<Outcome> {
    let low = *reply.get(3)? & 0x0f;
    let count = |at| u16_at(reply, at).map(u32::from);
    let records = count(6)? + count(8)? + count(10)?;
    let mut at = skip_questions(reply).ok()?;
    for _ in 0..records {
        let record = Frame::read(reply, at)?;
        at = record.end;
        if record.record_type == TYPE_OPT {
            let [high, ..] = record.ttl;
            let extended_error = extended_error(record.data);
            return Some(Outcome { code: ResponseCode::from(high, low), extended_error });
        }
    }
    Some(Outcome { code: ResponseCode::from(0, low), extended_error: None })
}

fn extended_error(mut options: &[u8]) -> Option<u16> {
    loop {
        let end = 4 + usize::from(u16_at(options, 2)?);
        if u16_at(options, 0)? == OPTION_EXTENDED_ERROR {
            return u16_at(options.get(..end)?, 4);
        }
        options = options.get(end..)?;
    }
}

/// The name that IANA has for a code. `None` where it has none.
pub fn code_name(code: ResponseCode) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    const EXTENDED: [&str; 8] =
        ["BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE"];
    let number = usize::from(u16::from(code));
    NAMES.get(number).or_else(|| EXTENDED.get(number.checked_sub(16)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::message::{Age, Answer, ExtendedError, Query, Reply};

    fn query(has_edns: bool) -> Query {
        let mut request = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(has_edns), 1, b'a', 0, 0, 1, 0, 1];
        if has_edns {
            request.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        }
        Query::decode(&request).unwrap()
    }

    #[test]
    fn the_outcome_is_what_was_answered() {
        for (has_edns, code, error) in [
            (true, ResponseCode::NXDomain, Some(19)),
            (true, ResponseCode::BADCOOKIE, None),
            (false, ResponseCode::Refused, None),
        ] {
            let query = query(has_edns);
            let mut answer = Answer::empty(code);
            answer.extended_error = error.map(|code| ExtendedError::new(code, "why"));
            let mut reply = Vec::new();
            answer.encode(&query.question).write(&query, Reply::Datagram, Age::Seconds(0), &mut reply);
            assert_eq!(read_outcome(&reply), Some(Outcome { code, extended_error: error }));
            for end in 0..reply.len() {
                let _ = read_outcome(&reply[..end]);
            }
        }
        assert_eq!(read_outcome(&[]), None);
    }

    #[test]
    fn codes_have_the_names_of_the_registry() {
        for (number, name) in [
            (0, "NOERROR"),
            (3, "NXDOMAIN"),
            (5, "REFUSED"),
            (11, "DSOTYPENI"),
            (16, "BADVERS"),
            (23, "BADCOOKIE"),
        ] {
            let code = ResponseCode::from((number >> 4) as u8, (number & 0x0f) as u8);
            assert_eq!(code_name(code), Some(name));
        }
        assert_eq!(code_name(ResponseCode::from(0, 12)), None);
        assert_eq!(code_name(ResponseCode::from(1, 8)), None);
    }
}
