//! Frames through a hostile byte stream.

use control::frame::{MAGIC, MAX_FRAME, MAX_PAYLOAD, encode};
use control::{
    Client, Decoder, EndReason, Keys, Message, ModelState, Reason, Reply, Request, Rights, Session, Status,
    Token,
};
use proptest::collection::vec;
use proptest::prelude::*;

type Owned = (u8, u32, Vec<u8>);

/// Feeds `stream` in pieces of `piece` bytes; the frames that came out.
fn frames(decoder: &mut Decoder, stream: &[u8], piece: usize) -> Vec<Owned> {
    let mut out = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.feed(bytes, |f| out.extend(f.ok().map(|f| (f.kind, f.id, f.payload.to_vec()))));
    }
    out
}

fn frame() -> impl Strategy<Value = Owned> {
    (any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..200))
}

/// Garbage of the nastiest kind: random bytes, pieces of magic, and true headers of an unborn frame, cut short.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let cut_frame = (frame(), 0usize..24).prop_map(|((kind, id, payload), keep)| {
        let mut bytes = Vec::new();
        encode(kind, id, &payload, &mut bytes).unwrap();
        bytes.truncate(keep);
        bytes
    });
    let piece =
        prop_oneof![vec(any::<u8>(), 0..40), Just(MAGIC.to_vec()), Just(MAGIC[..2].to_vec()), cut_frame];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(Message::Ping),
        Just(Message::Status),
        Just(Message::Cancel),
        (any::<u64>(), any::<u32>(), text()).prop_map(|(token, max_tokens, prompt)| Message::Infer {
            token: Token::from_bits(token),
            max_tokens,
            prompt
        }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any::<u64>().prop_map(Reply::Pong),
        (any::<[u64; 3]>(), any::<u16>(), text(), text()).prop_map(
            |([up, total, free], cpus, model_name, kernel)| {
                Reply::Status(Status {
                    uptime_ns: up,
                    memory_total: total,
                    memory_free: free,
                    cpus,
                    model: ModelState::Loading,
                    model_name,
                    kernel,
                })
            }
        ),
        (any::<u32>(), vec(any::<u8>(), 0..100))
            .prop_map(|(sequence, bytes)| Reply::Chunk { sequence, bytes }),
        (any::<u32>(), any::<u64>()).prop_map(|(tokens, elapsed_ns)| Reply::End {
            reason: EndReason::Cancelled,
            tokens,
            elapsed_ns
        }),
        text().prop_map(|text| Reply::Refused { reason: Reason::Busy, text }),
    ]
}

proptest! {
    #[test]
    fn frames_survive_garbage_around_them(
        parts in vec((garbage(), frame()), 1..8), tail in garbage(), piece in 1usize..64,
    ) {
        let mut stream = Vec::new();
        let mut sent = Vec::new();
        for (noise, (kind, id, payload)) in parts {
            stream.extend(noise);
            encode(kind, id, &payload, &mut stream).unwrap();
            sent.push((kind, id, payload));
        }
        stream.extend(tail);
        prop_assert_eq!(frames(&mut Decoder::new(), &stream, piece), sent);
    }

    #[test]
    fn a_frame_that_lost_bytes_costs_only_itself(
        lost in frame(), cut in 1usize..200, next in vec(frame(), 1..4), piece in 1usize..64,
    ) {
        let mut stream = Vec::new();
        encode(lost.0, lost.1, &lost.2, &mut stream).unwrap();
        stream.truncate(stream.len().saturating_sub(cut));
        for (kind, id, payload) in &next {
            encode(*kind, *id, payload, &mut stream).unwrap();
        }
        let mut decoder = Decoder::new();
        let mut got = frames(&mut decoder, &stream, piece);
        // The line falls silent: what still waits for the lost bytes is given up.
        decoder.give_up(|f| got.extend(f.ok().map(|f| (f.kind, f.id, f.payload.to_vec()))));
        prop_assert_eq!(got, next);
        prop_assert!(!decoder.mid_frame());
    }

    #[test]
    fn a_flipped_bit_is_never_accepted(sent in frame(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut stream = Vec::new();
        encode(sent.0, sent.1, &sent.2, &mut stream).unwrap();
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let mut decoder = Decoder::new();
        let mut got = frames(&mut decoder, &stream, 16);
        decoder.give_up(|f| got.extend(f.ok().map(|f| (f.kind, f.id, f.payload.to_vec()))));
        prop_assert_eq!(got, vec![]);
    }

    #[test]
    fn no_stream_panics_or_grows(stream in vec(any::<u8>(), 0..3000), piece in 1usize..64) {
        let mut session = Session::new(Keys::default());
        for bytes in stream.chunks(piece) {
            session.receive(bytes, |_| {});
        }
        session.idle(|_| {});
        prop_assert!(session.outgoing().len() <= control::session::OUTGOING_LIMIT);
    }

    #[test]
    fn no_payload_panics(kind in any::<u8>(), payload in vec(any::<u8>(), 0..200)) {
        let _ = (Message::parse(kind, &payload), Reply::parse(kind, &payload));
    }

    #[test]
    fn requests_round_trip(m in message()) {
        prop_assert_eq!(Message::parse(m.kind(), &m.payload()), Some(m));
    }

    #[test]
    fn replies_round_trip(r in reply()) {
        prop_assert_eq!(Reply::parse(r.kind(), &r.payload()), Some(r));
    }
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_is_refused() {
    let mut stream = Vec::new();
    assert!(encode(1, 2, &[7; MAX_PAYLOAD + 1], &mut stream).is_err());
    encode(1, 2, &[7; MAX_PAYLOAD], &mut stream).unwrap();
    assert_eq!(stream.len(), MAX_FRAME);
    assert_eq!(frames(&mut Decoder::new(), &stream, usize::MAX).len(), 1);
}

/// Lets host and kernel talk until both have nothing to send; the requests that reached the kernel.
fn deliver(host: &mut Client, kernel: &mut Session) -> Vec<Request> {
    let mut requests = Vec::new();
    kernel.receive(host.outgoing(), |r| requests.push(r));
    host.sent(usize::MAX);
    requests
}

fn answers(host: &mut Client, kernel: &mut Session) -> Vec<(u32, Reply)> {
    let mut replies = Vec::new();
    host.receive(kernel.outgoing(), |id, r| replies.push((id, r)));
    kernel.sent(usize::MAX);
    replies
}

#[test]
fn an_inference_is_streamed_guarded_and_cancelled() {
    let submit = Token::new(Rights::SUBMIT, 0x1234);
    let mut kernel = Session::new(Keys { admin: None, submit: Some(submit) });
    let mut host = Client::new();

    let wrong = host.infer(Token::new(Rights::SUBMIT, 0x1235), "hello", 8).unwrap();
    assert_eq!(deliver(&mut host, &mut kernel), []);
    let refusals = answers(&mut host, &mut kernel);
    assert!(matches!(&refusals[..], [(id, Reply::Refused { reason: Reason::Denied, .. })] if *id == wrong));

    let id = host.infer(submit, "hello", 8).unwrap();
    let requests = deliver(&mut host, &mut kernel);
    assert_eq!(requests, [Request::Infer { id, prompt: "hello".into(), max_tokens: 8 }]);
    assert_eq!(kernel.running(), Some(id));

    let second = host.infer(submit, "again", 8).unwrap();
    assert_eq!(deliver(&mut host, &mut kernel), []);
    assert!(matches!(&answers(&mut host, &mut kernel)[..],
        [(at, Reply::Refused { reason: Reason::Busy, .. })] if *at == second));

    let chunk = Reply::Chunk { sequence: 0, bytes: b"wor".to_vec() };
    kernel.reply(id, &chunk).unwrap();
    host.cancel(id);
    assert_eq!(deliver(&mut host, &mut kernel), [Request::Cancel { id }]);
    let end = Reply::End { reason: EndReason::Cancelled, tokens: 1, elapsed_ns: 5 };
    kernel.reply(id, &end).unwrap();
    assert_eq!(answers(&mut host, &mut kernel), [(id, chunk), (id, end)]);
    assert_eq!(kernel.running(), None);

    host.cancel(id);
    assert_eq!(deliver(&mut host, &mut kernel), []);
    assert!(matches!(
        &answers(&mut host, &mut kernel)[..],
        [(_, Reply::Refused { reason: Reason::UnknownRequest, .. })]
    ));
    let counts = kernel.counts();
    assert_eq!((counts.frames, counts.refused, counts.denied, counts.dropped), (5, 3, 1, 0));
}

#[test]
fn a_host_that_never_reads_gets_no_more_and_loses_no_inference() {
    let submit = Token::new(Rights::SUBMIT, 1);
    let mut kernel = Session::new(Keys { admin: None, submit: Some(submit) });
    let mut host = Client::new();
    let id = host.infer(submit, "x", 1).unwrap();
    deliver(&mut host, &mut kernel);
    let chunk = Reply::Chunk { sequence: 0, bytes: vec![b'x'; 1000] };
    while kernel.reply(id, &chunk).is_ok() {}
    for number in 0..1000 {
        host.ping(number);
        deliver(&mut host, &mut kernel);
    }
    assert!(kernel.counts().dropped > 900);
    let end = Reply::End { reason: EndReason::Finished, tokens: 1, elapsed_ns: 1 };
    kernel.reply(id, &end).unwrap_err();
    assert_eq!(kernel.running(), Some(id));
    kernel.sent(2000);
    kernel.reply(id, &end).unwrap();
    assert_eq!(kernel.running(), None);
}

#[test]
fn another_version_is_refused_by_name() {
    let mut kernel = Session::new(Keys::default());
    let mut host = Client::new();
    host.ping(1);
    let mut bytes = host.outgoing().to_vec();
    bytes[4] = 9;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    kernel.receive(&bytes, |_| panic!("nothing to hand on"));
    assert!(matches!(&answers(&mut host, &mut kernel)[..],
        [(1, Reply::Refused { reason: Reason::Version, text })] if text.contains("version 9")));
}
