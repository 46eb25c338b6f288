//! The library: several requests in flight on one connection, time limits, a connection that ends.

#[allow(dead_code, reason = "the program's tests use all of it")]
mod kernel;

use control::{EndReason, Infer, Message, Priority, Reason, Reply, Token};
use datactl::{Address, Connection, Error};
use kernel::{Faults, Kernel};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn infer(prompt: &str) -> Message {
    Message::Infer(Infer {
        max_tokens: 100,
        chunk_tokens: 1,
        priority: Priority::Normal,
        stream: true,
        deadline_ms: 0,
        prompt: prompt.into(),
    })
}

#[test]
fn several_answers_come_side_by_side() {
    let kernel = Kernel::start("side-by-side", Faults::default());
    let token = Some(Token::parse(&kernel.submit).unwrap());
    let mut connection = Connection::open(&Address::Socket(kernel.path.clone())).unwrap();
    let asked: Vec<u32> =
        ["a b c", "d e", "f"].map(|prompt| connection.send(&infer(prompt), token).unwrap()).into();
    // The last is read first: what comes for the others is kept.
    for (id, words) in asked.iter().zip([3, 2, 1]).rev() {
        connection.ack(*id).unwrap();
        for sequence in 0..words {
            let reply = connection.next(*id, PATIENCE).unwrap();
            assert!(matches!(reply, Some(Reply::Chunk { sequence: n, .. }) if n == sequence), "{reply:?}");
        }
        assert!(matches!(connection.next(*id, PATIENCE).unwrap(), Some(Reply::End(_))));
    }
    let (id, number) = connection.ask(&infer("forever"), token).unwrap();
    connection.ask(&Message::Cancel { number }, token).unwrap();
    let end = loop {
        match connection.next(id, PATIENCE).unwrap() {
            Some(Reply::End(end)) => break end,
            reply => assert!(matches!(reply, Some(Reply::Chunk { .. }))),
        }
    };
    assert_eq!(end.reason, EndReason::Cancelled);
    let refused = connection.ask(&Message::Cancel { number }, token);
    assert!(matches!(refused, Err(Error::Refused { reason: Reason::UnknownRequest, .. })));
}

#[test]
fn silence_and_the_end_are_told_apart() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut connection = Connection::from_unix(ours).with_ack_timeout(Duration::from_millis(20));
    assert!(matches!(connection.ask(&Message::Ping(1), None), Err(Error::NoAck(_))));
    assert!(matches!(connection.next_of_any(Duration::from_millis(1)), Ok(None)));
    drop(theirs);
    let broken = connection.ask(&Message::Ping(2), None);
    assert!(matches!(broken, Err(Error::Broken(_))), "{broken:?}");
    let unasked = connection.send(&infer("x"), None);
    assert!(matches!(unasked, Err(Error::Usage(_))));
}
