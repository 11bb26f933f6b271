//! Checks replies.

use std::time::Duration;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RData,
};
use pkdns_testing::benchmark::names::{QUESTION, address_of, query};

/// One reply of so many is parsed in full; of the others id and question are compared.
pub(crate) const SAMPLE: u32 = 64;

/// What a server is expected to reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// The query itself.
    Echo,
    /// An answer with the name's address.
    Answer,
}

/// What became of the queries of a round.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answers: u32,
    /// The names whose answers did not come.
    pub(crate) lost: Vec<u32>,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Counts the reply to the query with `id` for the name `number`.
    pub(crate) fn take(&mut self, reply: &[u8], id: u16, number: u32, replies: Replies) {
        let query = query(id, number);
        assert_eq!(reply[QUESTION], query[QUESTION], "the answer to another question");
        match replies {
            Replies::Echo => assert_eq!(*reply, query),
            Replies::Answer if self.answers.is_multiple_of(SAMPLE) => check_answer(reply, number),
            Replies::Answer => {}
        }
        self.answers += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.lost.extend(other.lost);
        self.elapsed += other.elapsed;
    }
}

/// The one address that the name has.
pub(crate) fn check_answer(reply: &[u8], number: u32) {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert!(message.edns.is_some());
    let [record] = &message.answers[..] else { panic!("{} answers", message.answers.len()) };
    let RData::A(address) = &record.data else { panic!("{record}") };
    assert_eq!(address.0, address_of(number));
}
